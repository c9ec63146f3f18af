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

/// What a datagram on an AF_UNIX socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// No message to the agent, or one that any process may send.
    Free,
    /// The runtime asks for an event, or a process in its place (a shell's curl): the agent judges that.
    AsksForEvent,
    /// In another process's name, or the runtime's own notice from another process.
    Forged,
}

/// What `caller` claims by sending this.
#[must_use]
pub fn claim(caller: &Caller, data: &[u8]) -> Claim {
    // A longer datagram reaches the agent cut to this length.
    let Some(report) = Report::decode(data.get(..MAX_MESSAGE).unwrap_or(data)) else { return Claim::Free };
    let of_the_runtime = matches!(report.kind, Kind::RuntimeUp | Kind::AtWork);
    match report.kind {
        _ if report.pid != caller.process => Claim::Forged,
        Kind::InvocationOver => Claim::AsksForEvent,
        _ if of_the_runtime && caller.role != Role::Runtime => Claim::Forged,
        _ => Claim::Free,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ringfence_records::message::ActionKind;

    fn claims(kind: Kind, pid: u32, role: Role) -> Claim {
        let mut buffer = [0; MAX_MESSAGE];
        let mut report = Report::new(kind, ActionKind::Dangerous);
        report.pid = pid;
        claim(&Caller { thread: 8, process: 7, role }, report.encode(&mut buffer).unwrap())
    }

    #[test]
    fn only_the_runtime_says_what_the_runtime_says() {
        for kind in [Kind::RuntimeUp, Kind::AtWork] {
            assert_eq!(claims(kind, 7, Role::Runtime), Claim::Free);
            assert_eq!(claims(kind, 7, Role::Child), Claim::Forged);
        }
        for role in [Role::Runtime, Role::Child] {
            assert_eq!(claims(Kind::InvocationOver, 7, role), Claim::AsksForEvent);
        }
        for kind in [Kind::Violation, Kind::Hint] {
            assert_eq!(claims(kind, 7, Role::Child), Claim::Free);
        }
    }

    #[test]
    fn nobody_speaks_for_another_process() {
        for kind in [Kind::Violation, Kind::Hint, Kind::RuntimeUp, Kind::InvocationOver, Kind::Degraded] {
            assert_eq!(claims(kind, 9, Role::Runtime), Claim::Forged, "{kind:?}");
            assert_eq!(claims(kind, 0, Role::Runtime), Claim::Forged, "{kind:?}: no process at all");
        }
    }

    #[test]
    fn a_message_that_is_cut_on_its_way_is_judged_as_it_arrives() {
        let mut long = vec![0; MAX_MESSAGE * 2];
        long[..4].copy_from_slice(&[b'R', b'F', 1, Kind::RuntimeUp as u8]);
        assert_eq!(claim(&Caller { thread: 8, process: 7, role: Role::Child }, &long), Claim::Forged);
    }

    proptest! {
        #[test]
        fn other_datagrams_are_nobody_s_business(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assume!(!bytes.starts_with(b"RF"));
            let child = Caller { thread: 8, process: 7, role: Role::Child };
            prop_assert_eq!(claim(&child, &bytes), Claim::Free);
        }
    }
}
