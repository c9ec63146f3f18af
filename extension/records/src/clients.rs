//! What is known of a runtime's HTTP client by the name of its program.
//!
//! Guard, library and agent count the runtime's connections to its API, and must count alike. It decides nothing.

/// How many connections a client may open beside the one that it uses. A pool (hyper's, .NET's) begins one where the other is
/// not free again yet, and goes on with whichever is ready first. Other clients (PHP's) have one for answers.
pub const SPARE_CONNECTIONS: usize = 2;

/// Which connections a runtime's client may have to its API, besides the one by which it asks for events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Spare {
    /// None, as far as is known.
    #[default]
    None = 0,
    /// Some that are made as the first one is.
    Alike = 1,
    /// One of another kind, by which errors are told: that of AWS's client for Java.
    Errors = 2,
    /// Both: which of the clients for Java it is, is not known.
    Either = 3,
}

impl Spare {
    /// By its number; one that is not known gives nothing.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Alike,
            2 => Self::Errors,
            3 => Self::Either,
            _ => Self::None,
        }
    }
}

/// Interpreters whose managed runtimes have clients that are known.
const INTERPRETERS: [&[u8]; 5] = [b"python", b"node", b"java", b"ruby", b"pypy"];

/// Whether this program is one of the interpreters of managed runtimes.
#[must_use]
pub fn is_interpreter(executable: &[u8]) -> bool {
    let name = executable.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    INTERPRETERS.iter().any(|known| name.starts_with(known))
}

/// How many bytes of a program are looked at for its notes: linkers put them first.
pub const MAX_NOTES: u64 = 8192;

/// The note that Go's linker writes: the length of its name, that of a build's id, its type, its name.
const GO_NOTE: ([u8; 4], [u8; 8]) = ([4, 0, 0, 0], [4, 0, 0, 0, b'G', b'o', 0, 0]);

/// Whether a program that begins so was built by Go. Its client frees a connection before it says that an answer is read, so it
/// keeps none to spare.
#[must_use]
pub fn has_go_note(beginning: &[u8]) -> bool {
    let (length, rest) = GO_NOTE;
    beginning.windows(16).any(|window| window.starts_with(&length) && window.ends_with(&rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_go_is_known_by_its_note() {
        let mut beginning = [0; 100].to_vec();
        beginning.extend(b"\x04\0\0\0\x53\0\0\0\x04\0\0\0Go\0\0");
        assert!(has_go_note(&beginning));
        assert!(!has_go_note(&beginning[..115]));
        assert!(!has_go_note(b""));
    }

    #[test]
    fn interpreters_are_known_by_name() {
        for known in ["/var/lang/bin/python3.12", "/usr/bin/node", "nodejs", "/var/lang/bin/java", "ruby3.3"]
        {
            assert!(is_interpreter(known.as_bytes()), "{known}");
        }
        for other in ["/var/task/bootstrap", "/var/lang/bin/dotnet", "/opt/bin/php", "", "/opt/python/run"] {
            assert!(!is_interpreter(other.as_bytes()), "{other}");
        }
    }
}
