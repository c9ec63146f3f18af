//! Whether anything has happened since the last look: a few counters of the kernel, read in microseconds.
//!
//! They only ever rise (numbers given out, connections opened, datagrams sent), so opening one thing while closing
//! another does not hide it. What has happened is not asked here; [`super`] looks where a counter has moved.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Most bytes of such a file; snmp has about 1,400.
const MAX_READ: usize = 4096;

/// What has happened since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct News {
    /// A process or thread was started.
    pub(super) started: bool,
    /// A TCP connection was opened, or there are more sockets that could listen.
    pub(super) streams: bool,
    /// A datagram was sent, or there are more datagram sockets.
    pub(super) datagrams: bool,
}

/// Connections that the platform has opened to the agent: they are nobody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Deliveries {
    /// Since the agent started.
    pub(crate) accepted: u64,
    /// Now.
    pub(crate) open: u64,
}

/// The counters as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counters {
    last_id: u64,
    connects: u64,
    streams: u64,
    sent: u64,
    datagrams: u64,
}

/// The files, kept open: a read then costs one call.
#[derive(Debug)]
pub(super) struct Gates {
    loads: Kept,
    in_use: Kept,
    in_use_6: Kept,
    totals: Kept,
    seen: Counters,
    accepted: u64,
    /// Whether a connection was unexplained at the last look: perhaps one that the agent had not accepted yet.
    is_owing: bool,
}

impl Gates {
    pub(super) fn new(proc: &Path) -> Self {
        let kept = |name: &str| Kept { path: proc.join(name), file: None };
        Self {
            loads: kept("loadavg"),
            in_use: kept("net/sockstat"),
            in_use_6: kept("net/sockstat6"),
            totals: kept("net/snmp"),
            seen: Counters::default(),
            accepted: 0,
            is_owing: false,
        }
    }

    /// Reads the counters, those of sockets only where somebody asks, and says what has moved.
    pub(super) fn news(&mut self, with_sockets: bool, deliveries: Deliveries) -> News {
        let mut now = self.read(with_sockets);
        // Each has two ends here.
        now.streams = now.streams.saturating_sub(2 * deliveries.open);
        let before = std::mem::replace(&mut self.seen, now);
        let opened = now.connects.saturating_sub(before.connects);
        let explained = deliveries.accepted.saturating_sub(self.accepted);
        self.accepted = deliveries.accepted;
        let was_owing = self.is_owing;
        // Kept until a connection was accepted that may have been the one.
        self.is_owing = opened > explained || (was_owing && explained == 0);
        News {
            started: now.last_id != before.last_id,
            streams: opened != explained || (was_owing && explained != 0) || now.streams > before.streams,
            datagrams: now.sent != before.sent || now.datagrams > before.datagrams,
        }
    }

    fn read(&mut self, with_sockets: bool) -> Counters {
        let mut buffer = [0; MAX_READ];
        let last_id = last_id(self.loads.read(&mut buffer));
        if !with_sockets {
            return Counters { last_id, ..self.seen };
        }
        let text = self.in_use.read(&mut buffer);
        let (mut streams, mut datagrams) = (after(text, "TCP: inuse"), after(text, "UDP: inuse"));
        let text = self.in_use_6.read(&mut buffer);
        streams += after(text, "TCP6: inuse");
        datagrams += after(text, "UDP6: inuse");
        let text = self.totals.read(&mut buffer);
        let (connects, sent) = (column(text, "Tcp:", "ActiveOpens"), column(text, "Udp:", "OutDatagrams"));
        Counters { last_id, connects, streams, sent, datagrams }
    }
}

#[derive(Debug)]
struct Kept {
    path: PathBuf,
    file: Option<File>,
}

impl Kept {
    /// Its content; empty where it cannot be read.
    fn read<'b>(&mut self, buffer: &'b mut [u8]) -> &'b str {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let length = self.file.as_ref().and_then(|file| file.read_at(buffer, 0).ok()).unwrap_or(0);
        std::str::from_utf8(buffer.get(..length).unwrap_or_default()).unwrap_or_default()
    }
}

/// The fifth field of `loadavg`: the number that was given out last. Threads take numbers too.
fn last_id(text: &str) -> u64 {
    text.split_ascii_whitespace().nth(4).and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// The number behind `label`.
fn after(text: &str, label: &str) -> u64 {
    let rest = text.split_once(label).map_or("", |(_, rest)| rest);
    rest.split_ascii_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// The number in the column `name` of the two lines that begin with `label`: names, then values (`net/snmp`).
fn column(text: &str, label: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(label));
    let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let at = names.split_ascii_whitespace().position(|column| column == name);
    at.and_then(|at| values.split_ascii_whitespace().nth(at)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    const NOBODY: Deliveries = Deliveries { accepted: 0, open: 0 };

    #[test]
    fn a_connection_of_the_platform_hides_none_of_the_functions() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("net")).unwrap();
        let mut gates = Gates::new(folder.path());
        let connects = |gates: &mut Gates, connects: u64, accepted: u64| {
            let text = format!("Tcp: ActiveOpens\nTcp: {connects}\n");
            std::fs::write(folder.path().join("net/snmp"), text).unwrap();
            gates.news(true, Deliveries { accepted, open: 0 }).streams
        };
        connects(&mut gates, 5, 5);
        assert!(!connects(&mut gates, 5, 5));
        assert!(!connects(&mut gates, 6, 6), "the platform's");
        assert!(connects(&mut gates, 8, 7), "the platform's and another");
        assert!(connects(&mut gates, 9, 7), "the platform's, not yet accepted");
        assert!(!connects(&mut gates, 9, 7), "a look in between");
        assert!(connects(&mut gates, 10, 8), "that one accepted, and another");
        assert!(!connects(&mut gates, 10, 8));
    }

    #[test]
    fn counters_are_found_by_their_names() {
        let snmp = "Ip: Forwarding\nIp: 1\nTcp: RtoAlgorithm ActiveOpens PassiveOpens\nTcp: 1 42 7\nUdp: InDatagrams OutDatagrams\nUdp: 3 9\n";
        assert_eq!((column(snmp, "Tcp:", "ActiveOpens"), column(snmp, "Udp:", "OutDatagrams")), (42, 9));
        let in_use = "sockets: used 7\nTCP: inuse 5 orphan 0 tw 1 alloc 6 mem 0\nUDP: inuse 2 mem 0\n";
        assert_eq!((after(in_use, "TCP: inuse"), after(in_use, "UDP: inuse")), (5, 2));
        assert_eq!(last_id("0.00 0.01 0.05 1/201 4711\n"), 4711);
    }

    // Other processes of the machine move the counters too: asserted is only that our own deeds do.
    #[test]
    fn a_connection_a_datagram_and_a_process_move_them() {
        let mut gates = Gates::new(Path::new("/proc"));
        gates.news(true, NOBODY);
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        drop(TcpStream::connect(server.local_addr().unwrap()).unwrap());
        assert!(gates.news(true, NOBODY).streams);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        assert!(gates.news(true, NOBODY).datagrams);
        assert!(std::process::Command::new("true").status().unwrap().success());
        assert!(gates.news(false, NOBODY).started);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = String::from_utf8_lossy(&bytes);
            let text = format!("Tcp: ActiveOpens {text}\nTcp: {text}");
            let _ = (column(&text, "Tcp:", "ActiveOpens"), after(&text, "Tcp:"), last_id(&text));
        }
    }
}
