//! Words that both forms of the policy share: which names are shells, which variables hold credentials, and which
//! paths can be trusted as names.
//!
//! Data and tiny predicates only, so that sharing them cannot hide a difference between the two evaluations.

/// Base names of programs that run command lines. Applets of multi-call binaries are covered by the binary's name.
pub const SHELLS: [&str; 20] = [
    "sh", "bash", "rbash", "dash", "ash", "hush", "zsh", "ksh", "ksh93", "mksh", "pdksh", "yash", "fish",
    "csh", "tcsh", "busybox", "toybox", "pwsh", "nu", "xonsh",
];

/// The variables in which Lambda hands out the role's credentials, and the token of the container credentials
/// endpoint (`SnapStart`).
pub const CREDENTIAL_VARIABLES: [&str; 4] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"];

/// Places that the function can write to, whatever the rights there: `/mnt` is where EFS is mounted. For
/// `process.from_writable` and for names that are trusted, not for where a policy may lie.
pub const WRITABLE_PLACES: [&[u8]; 6] = [b"/tmp/", b"/var/tmp/", b"/dev/", b"/run/", b"/proc/", b"/mnt/"];

/// Whether the file that the kernel calls `resolved` lies in one of [`WRITABLE_PLACES`]. Mapped, `/dev/zero` is memory that has
/// no name, and no file.
#[must_use]
pub fn is_in_writable_place(resolved: &[u8]) -> bool {
    resolved != b"/dev/zero" && WRITABLE_PLACES.iter().any(|place| resolved.starts_with(place))
}

/// Whether the last component of `path` is a shell's name.
#[must_use]
pub fn is_shell(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    SHELLS.iter().any(|shell| shell.as_bytes() == name)
}

/// Position of `variable` among the [`CREDENTIAL_VARIABLES`].
pub(crate) fn credential_bit(variable: &[u8]) -> Option<usize> {
    CREDENTIAL_VARIABLES.iter().position(|known| known.as_bytes() == variable)
}

/// Whether `variable` is one of [`CREDENTIAL_VARIABLES`].
pub(crate) fn is_role_credential(variable: &[u8]) -> bool {
    CREDENTIAL_VARIABLES.iter().any(|known| known.as_bytes() == variable)
}

/// Whether a path that the caller gave may stand for the file: absolute, without `.`, `..` or empty components, and
/// not in a place where the function itself could have planted a link (`/tmp/x` -> `/bin/sh`) or a magic link.
#[must_use]
pub fn is_trusted_name(path: &[u8]) -> bool {
    let [b'/', rest @ ..] = path else { return false };
    !rest.split(|byte| *byte == b'/').any(|part| matches!(part, b"" | b"." | b".."))
        && !WRITABLE_PLACES.iter().any(|place| is_below(path, place.strip_suffix(b"/").unwrap_or(place)))
}

/// Whether `path` is `place` or lies below it. Neither ends in a slash.
pub(crate) fn is_below(path: &[u8], place: &[u8]) -> bool {
    path.strip_prefix(place).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// Whether `name` is the local host's, which needs no resolver (RFC 6761, section 6.3).
pub(crate) fn is_localhost(name: &[u8]) -> bool {
    const LOCAL: &[u8] = b"localhost";
    let Some(start) = name.len().checked_sub(LOCAL.len()) else { return false };
    let (before, last) = name.split_at(start);
    last.eq_ignore_ascii_case(LOCAL) && matches!(before.last(), None | Some(b'.'))
}

#[cfg(test)]
mod tests {
    use super::{is_in_writable_place, is_localhost, is_shell, is_trusted_name};

    #[test]
    fn shells_are_known_by_their_base_name() {
        assert!(is_shell(b"/bin/sh") && is_shell(b"bash") && is_shell(b"/opt/busybox"));
        assert!(!is_shell(b"/usr/bin/ssh") && !is_shell(b"/bin/sh/x") && !is_shell(b""));
    }

    #[test]
    fn names_that_the_function_could_forge_are_not_trusted() {
        for forged in [
            "/tmp/x",
            "/proc/self/exe",
            "/dev/fd/3",
            "/mnt/x",
            "/tmp",
            "/opt/../usr/bin/curl",
            "/opt//x",
            "x",
            "/opt/./x",
            "/",
        ] {
            assert!(!is_trusted_name(forged.as_bytes()), "{forged}");
        }
        assert!(is_trusted_name(b"/usr/bin/convert") && is_trusted_name(b"/tmpx/a"));
    }

    #[test]
    fn what_lies_in_a_writable_place_is_known_by_its_name() {
        for inside in ["/tmp/x", "/var/tmp/x", "/dev/shm/x", "/run/x", "/proc/7/root/x", "/mnt/efs/lib/x.so"]
        {
            assert!(is_in_writable_place(inside.as_bytes()), "{inside}");
        }
        for outside in ["/tmpx/x", "/usr/bin/x", "/var/task/mnt/x", "/mntx/x", "/dev/zero"] {
            assert!(!is_in_writable_place(outside.as_bytes()), "{outside}");
        }
    }

    #[test]
    fn localhost_is_told_from_names_that_end_alike() {
        assert!(is_localhost(b"localhost") && is_localhost(b"a.LOCALHOST"));
        assert!(!is_localhost(b"notlocalhost") && !is_localhost(b""));
    }
}
