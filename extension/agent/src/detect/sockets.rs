//! Sockets as `/proc/net` lists them.
//!
//! It parses the tables of proc(5) and finds the process that holds a socket; what a socket may be is decided elsewhere.
//! [`super`] asks where a counter of the kernel has moved.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use ringfence_policy::Transport;

/// Most bytes of a table that are read: some 3,000 sockets, where Lambda allows 1,024 descriptors a process.
const MAX_TABLE: usize = 512 * 1024;
/// What the kernel hands out of such a file at one read (`seq_file`, a page). A read of less than half of it was the last
/// one: to ask again would walk all buckets of the kernel's table again, which is what reading it costs.
const FULL: usize = 2048;
/// Descriptors of a process that are looked at.
const MAX_DESCRIPTORS: usize = 4096;

/// Where a connection stands, as far as rules care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// Being opened, or open.
    Open,
    /// No process holds it any more.
    Closed,
    /// Waits for others.
    Listens,
    /// Neither: an unconnected datagram socket, say.
    Other,
}

/// One line of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Socket {
    pub(super) transport: Transport,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) state: State,
    /// Whether it belongs to our user.
    pub(super) is_own: bool,
    /// 0 where no process holds it.
    pub(super) inode: u64,
}

impl Socket {
    /// What names a connection, whichever process holds it.
    pub(super) const fn ends(&self) -> (SocketAddr, SocketAddr) {
        (self.local, self.remote)
    }
}

/// The sockets of the chosen transports.
pub(super) fn read(proc: &Path, streams: bool, datagrams: bool) -> Vec<Socket> {
    let tables = [
        (streams, "net/tcp", Transport::Stream),
        (streams, "net/tcp6", Transport::Stream),
        (datagrams, "net/udp", Transport::Datagram),
        (datagrams, "net/udp6", Transport::Datagram),
    ];
    let own = nix::unistd::geteuid().as_raw();
    let mut found = Vec::new();
    for (_, name, transport) in tables.into_iter().filter(|(wanted, ..)| *wanted) {
        let text = table(&proc.join(name));
        found.extend(text.split(|byte| *byte == b'\n').filter_map(|line| parse(line, transport, own)));
    }
    found
}

fn table(path: &Path) -> Vec<u8> {
    let mut text = vec![0; 16 * 1024];
    let mut filled = 0;
    let Ok(mut file) = File::open(path) else { return Vec::new() };
    while let Some(room) = text.get_mut(filled..)
        && let Ok(length @ 1..) = file.read(room)
    {
        filled += length;
        if length < FULL || filled >= MAX_TABLE {
            break;
        }
        text.resize((filled + 16 * 1024).min(MAX_TABLE), 0);
    }
    text.truncate(filled);
    text
}

/// `0: 0100007F:1F90 0B0200C0:01BB 01 tx:rx tr:when retrnsmt uid timeout inode …`
fn parse(line: &[u8], transport: Transport, own: u32) -> Option<Socket> {
    let text = std::str::from_utf8(line).ok()?;
    let mut fields = text.split_ascii_whitespace().skip(1);
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let is_own = fields.nth(3)?.parse() == Ok(own);
    let inode = fields.nth(1)?.parse().ok()?;
    let has_remote = !remote.ip().is_unspecified();
    // Numbers of tcp_states.h; datagram sockets use the first and the seventh.
    let state = match (transport, state) {
        (Transport::Stream, 1 | 2 | 8) | (Transport::Datagram, 1) if inode != 0 && has_remote => State::Open,
        (Transport::Stream, 4 | 5 | 6 | 9 | 11) if inode == 0 && has_remote => State::Closed,
        (Transport::Stream, 10) => State::Listens,
        _ => State::Other,
    };
    Some(Socket { transport, local, remote, state, is_own, inode })
}

/// `0100007F:1F90`, words of the kernel in the machine's order. IPv4-mapped addresses come out as IPv4.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(host.get(at * 8..at * 8 + 8)?, 16).ok();
    let host: IpAddr = match host.len() {
        8 => Ipv4Addr::from(word(0)?.to_ne_bytes()).into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, room) in bytes.chunks_exact_mut(4).enumerate() {
                room.copy_from_slice(&word(at)?.to_ne_bytes());
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(host.to_canonical(), port))
}

/// The inodes of sockets that these processes hold, each with its process.
pub(super) fn held(proc: &Path, processes: impl Iterator<Item = u32>) -> impl Iterator<Item = (u64, u32)> {
    processes.flat_map(move |id| {
        let entries = std::fs::read_dir(proc.join(id.to_string()).join("fd")).into_iter().flatten().flatten();
        entries.take(MAX_DESCRIPTORS).filter_map(move |entry| {
            let link = std::fs::read_link(entry.path()).ok()?;
            Some((socket_inode(link.to_str()?)?, id))
        })
    })
}

/// Which of these processes holds which of the `wanted` sockets; the first one counts.
pub(super) fn owners(
    proc: &Path,
    processes: impl Iterator<Item = u32>,
    wanted: &HashSet<u64>,
) -> HashMap<u64, u32> {
    let mut owners = HashMap::new();
    for (inode, id) in held(proc, processes).filter(|(inode, _)| wanted.contains(inode)) {
        owners.entry(inode).or_insert(id);
    }
    owners
}

fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Waits until the machine's tables are short enough to be read whole. Connections of other programs' tests stand in them for
/// a minute after their end (`TIME_WAIT`).
#[cfg(test)]
pub(super) fn room_in_the_tables() {
    let is_short = || {
        ["/proc/net/tcp", "/proc/net/udp"]
            .into_iter()
            .all(|name| table(Path::new(name)).len() < MAX_TABLE / 2)
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(150);
    while !is_short() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(is_short(), "the machine has more connections than the agent reads, for minutes");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn lines_of_the_kernel_are_understood() {
        let line = b"   1: 0100007F:A1B2 4206A8C0:01BB 01 00000000:00000000 00:00000000 00000000   993        0 4711 1 0 20 4 30 10 -1";
        let socket = parse(line, Transport::Stream, 993).unwrap();
        assert_eq!(socket.remote, "192.168.6.66:443".parse().unwrap());
        assert_eq!((socket.state, socket.is_own, socket.inode), (State::Open, true, 4711));
        let waiting = b"   2: 0100007F:A1B2 4206A8C0:01BB 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0";
        assert_eq!(parse(waiting, Transport::Stream, 993).unwrap().state, State::Closed);
        let mapped = b"   3: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00004206A8C0:115C 01 0:0 0:0 0 993 0 12";
        assert_eq!(
            parse(mapped, Transport::Stream, 993).unwrap().ends(),
            ("127.0.0.1:8080".parse().unwrap(), "192.168.6.66:4444".parse().unwrap())
        );
        let heading = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        assert_eq!(parse(heading, Transport::Stream, 993), None);
    }

    #[test]
    fn a_connection_is_found_with_its_owner() {
        room_in_the_tables();
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let proc = Path::new("/proc");
        let ends = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        // A read of the table can miss a line where other connections of the machine come and go meanwhile.
        let find = |wanted: &dyn Fn(&Socket) -> bool| {
            (0..100).find_map(|_| read(proc, true, false).into_iter().find(|socket| wanted(socket)))
        };
        let socket = find(&|socket| socket.ends() == ends).unwrap();
        assert_eq!(socket.state, State::Open);
        assert!(find(&|socket| socket.state == State::Listens && socket.local == ends.1).is_some());
        let own = std::process::id();
        let owners = owners(proc, std::iter::once(own), &HashSet::from([socket.inode]));
        assert_eq!(owners.get(&socket.inode), Some(&own));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(line in proptest::collection::vec(any::<u8>(), 0..160), text in "[0-9A-F:é ]{0,60}") {
            let _ = (parse(&line, Transport::Stream, 993), address(&text), socket_inode(&text));
            let _ = parse(format!("0: {text} {text} 01 {text}").as_bytes(), Transport::Datagram, 993);
        }
    }
}
