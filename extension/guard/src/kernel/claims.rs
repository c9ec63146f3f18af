//! Messages to the agent that the guard sends for somebody else: they must not claim more than their sender may.
//!
//! What the guard sends carries the guard's credentials, so the agent has to take the message's own word for who it is
//! from. The guard knows better, and refuses a process id that is not the sender's, and the runtime's own notices from
//! anyone else. Every datagram between processes is looked at, whatever its destination: that cannot change meanwhile.
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
    let of_the_runtime = matches!(report.kind, Kind::RuntimeUp | Kind::InvocationOver);
    report.pid == caller.process && (!of_the_runtime || caller.role == Role::Runtime)
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
    fn only_the_runtime_says_what_the_runtime_says() {
        for kind in [Kind::RuntimeUp, Kind::InvocationOver] {
            assert!(may(kind, 7, Role::Runtime));
            assert!(!may(kind, 7, Role::Child));
        }
        assert!(may(Kind::Violation, 7, Role::Child) && may(Kind::Hint, 7, Role::Child));
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
