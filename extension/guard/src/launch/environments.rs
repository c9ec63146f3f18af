//! Finds the agent of this environment where the control socket's name is not the expected one.
//!
//! The name holds the address of the Runtime API, which a wrapper in front of the guard may have rewritten. So the sockets
//! of all agents are listed, and the one is taken whose agent was started by a process that started the guard too: the
//! platform's. Several environments may share a network namespace. It believes no name; [`super::agent`] calls it.

use std::fs::File;
use std::io::Read as _;

use ringfence_records::message::CONTROL_SOCKET;

/// Bytes of `/proc/net/unix` that are read: some 15,000 sockets.
const MAX_TABLE: u64 = 1024 * 1024;
/// Agents that are asked; a machine with more environments in one network namespace gets no second try.
const MAX_AGENTS: usize = 64;
/// Ancestors that are followed.
const MAX_GENERATIONS: usize = 64;

/// The abstract names of all agents' control sockets but `except`, as `/proc/net/unix` lists them.
#[must_use]
pub fn other_control_sockets(except: &[u8]) -> Vec<Vec<u8>> {
    let mut table = Vec::new();
    let read = File::open("/proc/net/unix").and_then(|file| file.take(MAX_TABLE).read_to_end(&mut table));
    if read.is_err() {
        return Vec::new();
    }
    listening(&table).filter(|name| *name != except).take(MAX_AGENTS).map(<[u8]>::to_vec).collect()
}

/// The names in a table (proc(5)): the eighth word, `@` for the zero byte of an abstract name. Connections of a socket
/// stand there under its name too; the one that listens has the flag `__SO_ACCEPTCON`.
fn listening(table: &[u8]) -> impl Iterator<Item = &[u8]> {
    const LISTENS: &[u8] = b"00010000";
    table.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let listens = words.nth(3)? == LISTENS;
        let name = words.nth(3)?.strip_prefix(b"@").filter(|name| name.starts_with(CONTROL_SOCKET));
        name.filter(|_| listens)
    })
}

/// How many generations above this process the parent of `agent` stands; `None` where it is no ancestor, or cannot be seen.
#[must_use]
pub fn distance(agent: u32) -> Option<usize> {
    let parent = parent_of(agent).filter(|parent| *parent != 0)?;
    ancestors().position(|ancestor| ancestor == parent)
}

fn ancestors() -> impl Iterator<Item = u32> {
    let next = |process: &u32| parent_of(*process).filter(|parent| *parent != 0);
    std::iter::successors(Some(std::process::id()), next).skip(1).take(MAX_GENERATIONS)
}

fn parent_of(process: u32) -> Option<u32> {
    parent_in(&std::fs::read(format!("/proc/{process}/stat")).ok()?)
}

/// The fourth field; the second is a name in parentheses, which may hold anything.
fn parent_in(stat: &[u8]) -> Option<u32> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_agents_that_listen_are_listed() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            ffff: 00000002 00000000 00010000 0005 01 23 @ringfence-control-127.0.0.1:9001\n\
            ffff: 00000003 00000000 00000000 0005 03 24 @ringfence-control-127.0.0.1:9001\n\
            ffff: 00000002 00000000 00010000 0001 01 25 /run/ringfence-control-x\n\
            ffff: 00000002 00000000 00010000 0001 01 26\n\
            ffff: 00000002 00000000 00000000 0002 01 27 @ringfence-report-x\n";
        assert_eq!(listening(table).collect::<Vec<_>>(), [b"ringfence-control-127.0.0.1:9001"]);
    }

    #[test]
    fn an_agent_is_known_by_its_parent() {
        let mut sibling = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        // The parent of a child is this process itself, which is none of its own ancestors.
        assert_eq!(distance(sibling.id()), None);
        assert_eq!(distance(std::process::id()), Some(0));
        assert_eq!(distance(u32::MAX), None);
        sibling.kill().unwrap();
        sibling.wait().unwrap();
    }

    #[test]
    fn a_name_with_parentheses_hides_no_parent() {
        assert_eq!(parent_in(b"7 (a) S 1 (b) R 42 7 7"), Some(42));
        assert_eq!(parent_in(b"7"), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = listening(&bytes).count();
            let _ = parent_in(&bytes);
        }
    }
}
