//! Socket options, control messages and ioctls that change where data goes or what a verdict meant: one table for both planes.
//!
//! A destination is judged when a socket is connected or a message names it. What is listed here would lead elsewhere
//! afterwards, so it is refused whatever the policy allows. The guard's filter refuses options by registers alone; what a
//! message carries the guard and the preload library read from their copies. docs/system-calls.md prints these tables.

/// One or more socket options that are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Level of setsockopt(2).
    pub level: u32,
    /// Options of that level.
    pub options: &'static [u32],
    /// Error that callers cope with best.
    pub error: Error,
    /// Which planes refuse them.
    pub planes: Planes,
    /// Why.
    pub reason: &'static str,
}

/// What the kernel plane answers. The process plane writes a record, and says EPERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// `EPERM`.
    NotPermitted,
    /// `EOPNOTSUPP`.
    NotSupported,
}

/// Planes that refuse something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planes {
    /// Both.
    Both,
    /// The kernel plane; the other one judges the connect that follows.
    KernelOnly,
}

/// `IPPROTO_IP`, or `SOL_IP`.
pub const IP: u32 = 0;
/// `SOL_SOCKET`.
pub const SOCKET: u32 = 1;
/// `IPPROTO_TCP`.
pub const TCP: u32 = 6;
/// `SOL_UDP`.
pub const UDP: u32 = 17;
/// `IPPROTO_IPV6`.
pub const IPV6: u32 = 41;
/// `IPPROTO_SCTP`.
pub const SCTP: u32 = 132;

/// All options that are refused, by level (`linux/in.h`, `in6.h`, `tcp.h`, `sctp.h`). All others pass: they choose among
/// interfaces, sources, sizes and times, and packets still go to the address that was judged.
pub const OPTIONS: &[Options] = &[
    Options {
        level: TCP,
        options: &[23, 30],
        error: Error::NotSupported,
        planes: Planes::KernelOnly,
        reason: "TCP_FASTOPEN, TCP_FASTOPEN_CONNECT: the connection is made by a later write, unseen by the guard",
    },
    Options {
        level: TCP,
        options: &[19],
        error: Error::NotPermitted,
        planes: Planes::Both,
        reason: "TCP_REPAIR: a connection without a connect",
    },
    Options {
        level: IP,
        options: &[4],
        error: Error::NotPermitted,
        planes: Planes::Both,
        reason: "IP_OPTIONS: a source route, by which packets go elsewhere first",
    },
    Options {
        level: IPV6,
        options: &[5, 6, 9, 54, 55, 57, 59],
        error: Error::NotPermitted,
        planes: Planes::Both,
        reason: "IPV6_2292RTHDR, _2292PKTOPTIONS, _NEXTHOP, _HOPOPTS, _RTHDRDSTOPTS, _RTHDR, _DSTOPTS: routing headers and options that name other addresses",
    },
    Options {
        level: SCTP,
        options: &[5, 6, 100, 101, 102, 107, 110, 111],
        error: Error::NotPermitted,
        planes: Planes::Both,
        reason: "SCTP_SET_PEER_PRIMARY_ADDR, _PRIMARY_ADDR, _SOCKOPT_BINDX_ADD, _REM, _PEELOFF, _CONNECTX_OLD, _CONNECTX, _CONNECTX3: connect, bind and make sockets by an option",
    },
];

/// Whether the process plane refuses the option.
#[must_use]
pub fn is_refused(level: i32, option: i32) -> bool {
    let (Ok(level), Ok(option)) = (u32::try_from(level), u32::try_from(option)) else { return false };
    let listed = |row: &&Options| row.level == level && row.options.contains(&option);
    OPTIONS.iter().filter(listed).any(|row| row.planes == Planes::Both)
}

/// What a control message does to a message that is sent on an internet socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Nothing to where it goes.
    Harmless,
    /// Chooses source address or interface: the process plane lets it pass, the kernel plane, on whose sockets the guard
    /// sends, does not.
    ChoosesSource,
    /// May lead elsewhere, or is not known.
    Redirects,
}

/// A control message that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its level.
    pub level: u32,
    /// Its type.
    pub kind: u32,
    /// What it does.
    pub does: Control,
    /// Its name.
    pub name: &'static str,
}

const fn known(level: u32, kind: u32, does: Control, name: &'static str) -> Known {
    Known { level, kind, does, name }
}

/// Control messages of the internet's levels that do not redirect. What is not here, of the levels of IP, IPv6 and SCTP, is
/// taken for a route (`IP_RETOPTS`, `IPV6_RTHDR`, `IPV6_HOPOPTS`, `IPV6_DSTOPTS` and later ones).
pub const CONTROLS: &[Known] = &[
    known(IP, 1, Control::Harmless, "IP_TOS"),
    known(IP, 2, Control::Harmless, "IP_TTL"),
    known(IP, 8, Control::ChoosesSource, "IP_PKTINFO"),
    known(IPV6, 2, Control::ChoosesSource, "IPV6_2292PKTINFO"),
    known(IPV6, 8, Control::Harmless, "IPV6_2292HOPLIMIT"),
    known(IPV6, 11, Control::Harmless, "IPV6_FLOWINFO"),
    known(IPV6, 50, Control::ChoosesSource, "IPV6_PKTINFO"),
    known(IPV6, 52, Control::Harmless, "IPV6_HOPLIMIT"),
    known(IPV6, 62, Control::Harmless, "IPV6_DONTFRAG"),
    known(IPV6, 67, Control::Harmless, "IPV6_TCLASS"),
    known(UDP, 103, Control::Harmless, "UDP_SEGMENT"),
    known(SOCKET, 37, Control::Harmless, "SO_TIMESTAMPING"),
];

/// What the control message does.
#[must_use]
pub fn control(level: i32, kind: i32) -> Control {
    let (Ok(level), Ok(kind)) = (u32::try_from(level), u32::try_from(kind)) else {
        return Control::Redirects;
    };
    let listed = CONTROLS.iter().find(|known| (known.level, known.kind) == (level, kind));
    let routes = matches!(level, IP | IPV6 | SCTP);
    listed.map_or(if routes { Control::Redirects } else { Control::Harmless }, |known| known.does)
}

/// Whether the kernel plane sends a message with this control message on an internet socket: only what is known to be harmless.
#[must_use]
pub fn is_sent_by_the_guard(level: i32, kind: i32) -> bool {
    let (Ok(level), Ok(kind)) = (u32::try_from(level), u32::try_from(kind)) else { return false };
    let harmless = |known: &&Known| known.does == Control::Harmless;
    CONTROLS.iter().filter(harmless).any(|known| (known.level, known.kind) == (level, kind))
}

/// An ioctl(2) that is judged, with the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ioctl {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// ioctls that the kernel plane refuses. The process plane judges the first two by the process that they name, and refuses the
/// others with a record.
pub const IOCTLS: [Ioctl; 4] = [
    Ioctl { number: 0x8901, name: "FIOSETOWN", reason: "signals to others by way of a descriptor" },
    Ioctl { number: 0x8902, name: "SIOCSPGRP", reason: "signals to others by way of a descriptor" },
    Ioctl { number: 0x5412, name: "TIOCSTI", reason: "types into a terminal" },
    Ioctl { number: 0xaa00, name: "USERFAULTFD_IOC_NEW", reason: "as userfaultfd(2)" },
];

/// Whether the process plane refuses the ioctl whatever its arguments.
#[must_use]
pub fn is_refused_ioctl(number: u32) -> bool {
    let [_, _, always @ ..] = IOCTLS;
    always.iter().any(|ioctl| ioctl.number == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_refused_by_both_planes_and_late_connects_by_one() {
        for (level, option) in [(0, 4), (41, 57), (41, 5), (41, 59), (132, 110), (6, 19)] {
            assert!(is_refused(level, option), "{level} {option}");
        }
        for (level, option) in [(6, 30), (6, 1), (1, 25), (41, 26), (0, 1), (-1, 4), (0, -4)] {
            assert!(!is_refused(level, option), "{level} {option}");
        }
    }

    #[test]
    fn a_control_message_that_is_not_known_is_a_route() {
        for (level, kind) in [(0, 7), (41, 57), (41, 3), (41, 59), (41, 999), (132, 1), (-1, 0)] {
            assert_eq!(control(level, kind), Control::Redirects, "{level} {kind}");
            assert!(!is_sent_by_the_guard(level, kind));
        }
        assert_eq!(control(41, 50), Control::ChoosesSource);
        assert!(!is_sent_by_the_guard(41, 50) && is_sent_by_the_guard(41, 67));
        // SCM_RIGHTS, and TLS_SET_RECORD_TYPE of the kernel's TLS.
        assert_eq!([control(1, 1), control(282, 1)], [Control::Harmless; 2]);
    }

    #[test]
    fn no_option_is_listed_twice() {
        let mut all: Vec<_> = OPTIONS
            .iter()
            .flat_map(|row| row.options.iter().map(move |option| (row.level, *option)))
            .collect();
        let listed = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), listed);
    }
}
