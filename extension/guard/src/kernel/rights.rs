//! Whether a thread has the rights that the guard has: what the guard opens for it, it must be able to open itself.
//!
//! The same goes for what the guard connects or binds for it, where the kernel asks who does.
//!
//! On Lambda nobody has any capability and all share one user, so there is nothing to compare. Where the guard is
//! privileged (a container that runs as root), a child that has given its rights up must not get them back through
//! it. `open`, `names`, `connect`, `send` and `others` ask.

use super::target;

/// What must be alike: users, groups, and capabilities (proc(5), `status`).
const ALIKE: [&[u8]; 4] = [b"Uid:", b"Gid:", b"Groups:", b"CapEff:"];

/// The guard's own rights.
#[derive(Debug, Default, Clone)]
pub struct Rights(Option<[String; 4]>);

impl Rights {
    /// Reads them; `None` inside where there is nothing that a child could have given up.
    #[must_use]
    pub fn own() -> Self {
        Self::read(std::process::id())
            .filter(|[_, _, _, capabilities]| !is_zero(capabilities))
            .map_or(Self(None), |own| Self(Some(own)))
    }

    fn read(pid: u32) -> Option<[String; 4]> {
        let mut bytes = [0; 2048];
        let status = target::status(pid, &mut bytes)?;
        let values = ALIKE.map(|name| target::field(status, name).map(str::to_owned));
        let [users, groups, more, capabilities] = values;
        Some([users?, groups?, more?, capabilities?])
    }

    /// Whether there is something that a child could have given up.
    #[must_use]
    pub const fn can_be_given_up(&self) -> bool {
        self.0.is_some()
    }

    /// Whether `thread` may have done for it what the guard may do.
    #[must_use]
    pub fn are_shared_by(&self, thread: u32) -> bool {
        self.0.as_ref().is_none_or(|own| Self::read(thread).as_ref() == Some(own))
    }
}

/// Whether two threads are of the same users: then the kernel lets either signal the other, without any capability.
#[must_use]
pub fn have_same_users(one: u32, other: u32) -> bool {
    let users = |thread| {
        let mut bytes = [0; 2048];
        target::field(target::status(thread, &mut bytes)?, b"Uid:").map(str::to_owned)
    };
    users(one).is_some_and(|of_one| users(other).as_ref() == Some(&of_one))
}

/// Whether only the privileged may bind to this port. The ports may be others by a sysctl that counts for the caller too.
#[must_use]
pub fn needs_privilege(port: u16) -> bool {
    const FIRST_FREE: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    const USUAL: u16 = 1024;
    if port == 0 || port >= USUAL {
        return false;
    }
    let first_free = std::fs::read_to_string(FIRST_FREE).ok().and_then(|text| text.trim().parse().ok());
    port < first_free.unwrap_or(USUAL)
}

fn is_zero(capabilities: &str) -> bool {
    capabilities.bytes().all(|digit| digit == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_other_rights_is_told_apart() {
        let own = Rights(Rights::read(std::process::id()));
        assert!(own.0.is_some() && own.are_shared_by(std::process::id()));
        assert!(!own.are_shared_by(u32::MAX), "nobody");
        let mut other = Rights::read(std::process::id());
        other.as_mut().unwrap()[3] = "00000000000000ff".to_owned();
        assert!(!Rights(other).are_shared_by(std::process::id()));
        assert!(Rights(None).are_shared_by(std::process::id()), "nothing to give up");
        assert!(is_zero("0000000000000000") && !is_zero("0000000000000400"));
    }
}
