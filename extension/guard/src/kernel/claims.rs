//! Messages to the agent that the guard sends for somebody else: they must not claim more than their sender may.
//!
//! What the guard sends carries the guard's credentials, so the agent has to take the message's own word for who it is
//! from. The guard knows better, and refuses a process id that is not the sender's, and the notice that the runtime is up
//! from any other process. Who may ask for events is the agent's to judge: a shell does it by its children. Every datagram between processes is looked at, whatever its destination: that cannot change meanwhile.
//! `send` calls it.

use ringfence_policy::Role;
use ringfence_records::message::{Kind, Report};
use ringfence_records::wire::MAX_MESSAGE;

use super::target::Caller;

/// Whether `caller` may send this as a datagram on an AF_UNIX socket.
#[must_use]
pub fn may_send(caller: &Caller, data: &[u8]) -> bool {
    // A longer datagram reaches the agent cut to this length.
    let Some(report) = Report::decode(data.get(..MAX_MESSAGE).unwrap_or(data)) else { return true };
    report.pid == caller.process && (report.kind != Kind::RuntimeUp || caller.role == Role::Runtime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ringfence_records::message::ActionKind;

    fn may(kind: Kind, pid: u32, role: Role) -> bool {
        let mut buffer = [0; MAX_MESSAGE];
        let mut report = Report::new(kind, ActionKind::Dangerous);
        report.pid = pid;
        may_send(&Caller { thread: 8, process: 7, role }, report.encode(&mut buffer).unwrap())
    }

    #[test]
    fn only_the_runtime_says_that_it_is_up() {
        assert!(may(Kind::RuntimeUp, 7, Role::Runtime));
        assert!(!may(Kind::RuntimeUp, 7, Role::Child));
        assert!(may(Kind::Violation, 7, Role::Child) && may(Kind::Hint, 7, Role::Child));
        assert!(may(Kind::InvocationOver, 7, Role::Child), "a shell's curl: the agent judges it");
    }

    #[test]
    fn nobody_speaks_for_another_process() {
        for kind in [Kind::Violation, Kind::Hint, Kind::RuntimeUp, Kind::InvocationOver, Kind::Degraded] {
            assert!(!may(kind, 9, Role::Runtime), "{kind:?}");
            assert!(!may(kind, 0, Role::Runtime), "{kind:?}: no process at all");
        }
    }

    #[test]
    fn a_message_that_is_cut_on_its_way_is_judged_as_it_arrives() {
        let mut long = vec![0; MAX_MESSAGE * 2];
        long[..4].copy_from_slice(&[b'R', b'F', 1, Kind::RuntimeUp as u8]);
        assert!(!may_send(&Caller { thread: 8, process: 7, role: Role::Child }, &long));
    }

    proptest! {
        #[test]
        fn other_datagrams_are_nobody_s_business(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assume!(!bytes.starts_with(b"RF"));
            let child = Caller { thread: 8, process: 7, role: Role::Child };
            prop_assert!(may_send(&child, &bytes));
        }
    }
}
