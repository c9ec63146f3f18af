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

/// Connections that the platform has opened to the agent: they are no other process's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Deliveries {
    /// Since the agent started.
    pub(crate) accepted: u64,
    /// Now.
    pub(crate) open: u64,
    /// Since the agent started: the kernel may still count the ends of one that is closed.
    pub(crate) closed: u64,
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
    delivered: Deliveries,
    /// Connections that were opened and not accepted, as far as they were looked at or wait to be accepted.
    settled: i64,
    /// Whether one was looked at that may still turn out to be the platform's.
    is_owing: bool,
    /// Whether deliveries come from outside this network name space: then its counters know nothing of them.
    from_outside: bool,
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
            delivered: Deliveries::default(),
            settled: 0,
            is_owing: false,
            from_outside: false,
        }
    }

    /// What was opened until now is no news.
    pub(super) fn begin(&mut self, with_sockets: bool, deliveries: Deliveries, waits: &dyn Fn() -> bool) {
        self.news(with_sockets, deliveries, waits);
        self.is_owing = false;
    }

    /// Reads the counters, those of sockets only on request, and says what has moved. `waits` says whether a
    /// connection of the platform waits to be accepted; it is asked after the counters are read, so that a connection
    /// which they know is in the queue.
    pub(super) fn news(
        &mut self,
        with_sockets: bool,
        deliveries: Deliveries,
        waits: &dyn Fn() -> bool,
    ) -> News {
        let mut now = self.read(with_sockets);
        let has_opened = with_sockets && self.has_opened(now.connects, deliveries, waits);
        let has_more = self.has_more(&mut now, deliveries, waits);
        self.delivered = deliveries;
        let before = std::mem::replace(&mut self.seen, now);
        News {
            started: now.last_id != before.last_id,
            streams: has_opened || has_more,
            datagrams: now.sent != before.sent || now.datagrams > before.datagrams,
        }
    }

    /// Whether a connection was opened that is not the platform's. What was opened and what was accepted is counted from
    /// the start, so a connection that comes between the two looks at the end of it is found at the next.
    fn has_opened(&mut self, connects: u64, deliveries: Deliveries, waits: &dyn Fn() -> bool) -> bool {
        let accepted = if self.from_outside { 0 } else { deliveries.accepted };
        let balance = signed(connects) - signed(accepted);
        let unexplained = balance - self.settled;
        let may_be_it = self.is_owing && !self.from_outside && deliveries.accepted != self.delivered.accepted;
        if unexplained < 0 && !self.is_owing {
            // Accepted here and never opened here.
            self.from_outside = true;
            self.settled = signed(connects);
            return true;
        }
        let waiting = i64::from(unexplained > 0 && !self.from_outside && waits());
        self.settled = balance - waiting;
        // Kept until a connection was accepted that may have been the one.
        self.is_owing = unexplained > waiting || (self.is_owing && !may_be_it);
        unexplained > waiting || may_be_it
    }

    /// Whether there are more streams, the platform's left out of account. The kernel may still count the ends of
    /// deliveries that are closed: what they hide shows at the next look.
    fn has_more(&self, now: &mut Counters, deliveries: Deliveries, waits: &dyn Fn() -> bool) -> bool {
        let ends = if self.from_outside { 1 } else { 2 };
        now.streams = now.streams.saturating_sub(ends * deliveries.open);
        let closed = deliveries.closed.saturating_sub(self.delivered.closed);
        let mut allowed = self.seen.streams + ends * closed;
        if now.streams > allowed && waits() {
            allowed += ends;
        }
        let has_more = now.streams > allowed;
        if !has_more {
            now.streams = now.streams.min(self.seen.streams);
        }
        has_more
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

/// Whether the kernel remembers connections that no process holds.
pub(super) fn has_closed(proc: &Path) -> bool {
    let mut kept = Kept { path: proc.join("net/sockstat"), file: None };
    let mut buffer = [0; MAX_READ];
    let text = kept.read(&mut buffer);
    let line = text.lines().find(|line| line.starts_with("TCP:")).unwrap_or("");
    after(line, " orphan") + after(line, " tw") > 0
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
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

    const NOBODY: Deliveries = Deliveries { accepted: 0, open: 0, closed: 0 };

    /// Gates over a folder of counters that a test writes.
    struct Bench {
        folder: tempfile::TempDir,
        gates: Gates,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("net")).unwrap();
            let gates = Gates::new(folder.path());
            let mut bench = Self { folder, gates };
            bench.write("snmp", "Tcp: ActiveOpens\nTcp: 5\n");
            bench.write("sockstat", "TCP: inuse 5\n");
            bench.gates.begin(true, Deliveries { accepted: 1, ..NOBODY }, &|| false);
            bench
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.folder.path().join("net").join(name), text).unwrap();
        }

        /// Whether that many connects, accepted deliveries and one that waits are news.
        fn connects(&mut self, connects: u64, accepted: u64, waits: bool) -> bool {
            self.write("snmp", &format!("Tcp: ActiveOpens\nTcp: {connects}\n"));
            self.gates.news(true, Deliveries { accepted, ..NOBODY }, &|| waits).streams
        }

        /// Whether that many streams in use are news.
        fn in_use(&mut self, streams: u64, open: u64, closed: u64) -> bool {
            self.write("sockstat", &format!("TCP: inuse {streams}\n"));
            self.gates.news(true, Deliveries { accepted: 1, open, closed }, &|| false).streams
        }
    }

    #[test]
    fn a_connection_of_the_platform_hides_none_of_the_functions() {
        let mut bench = Bench::new();
        assert!(!bench.connects(5, 1, false));
        assert!(!bench.connects(6, 2, false), "the platform's");
        assert!(bench.connects(8, 3, false), "the platform's and another");
        assert!(bench.connects(9, 3, false), "the platform's, not to be seen yet");
        assert!(!bench.connects(9, 3, false), "a look in between");
        assert!(bench.connects(10, 4, false), "that one accepted, and another");
        assert!(!bench.connects(10, 4, false));
    }

    #[test]
    fn a_connection_of_the_platform_that_waits_is_no_news_and_hides_none() {
        let mut bench = Bench::new();
        assert!(!bench.connects(6, 1, true), "it waits");
        assert!(!bench.connects(6, 1, true), "it still does");
        assert!(!bench.connects(6, 2, false), "it was accepted");
        assert!(!bench.connects(7, 2, true), "another, and the platform's comes between counting and asking");
        assert!(bench.connects(8, 3, false), "the platform's is counted now, so the other shows");
    }

    #[test]
    fn deliveries_from_another_name_space_explain_nothing() {
        let mut bench = Bench::new();
        assert!(bench.connects(5, 2, false), "accepted and not opened here");
        assert!(bench.connects(6, 3, false), "opened here, and by somebody else");
        assert!(bench.connects(7, 3, true), "the platform's wait where nobody counts them");
        assert!(!bench.connects(7, 4, false));
    }

    #[test]
    fn the_ends_of_a_closed_delivery_hide_no_listener() {
        let mut bench = Bench::new();
        assert!(!bench.in_use(7, 1, 0), "a delivery");
        assert!(!bench.in_use(7, 0, 1), "closed, and both ends still counted");
        assert!(!bench.in_use(5, 0, 1), "gone");
        assert!(!bench.in_use(6, 0, 2), "the next is closed, or somebody listens");
        assert!(bench.in_use(6, 0, 2), "somebody listens");
    }

    #[test]
    fn counters_are_found_by_their_names() {
        let snmp = "Ip: Forwarding\nIp: 1\nTcp: RtoAlgorithm ActiveOpens PassiveOpens\nTcp: 1 42 7\nUdp: InDatagrams OutDatagrams\nUdp: 3 9\n";
        assert_eq!((column(snmp, "Tcp:", "ActiveOpens"), column(snmp, "Udp:", "OutDatagrams")), (42, 9));
        let in_use = "sockets: used 7\nTCP: inuse 5 orphan 0 tw 1 alloc 6 mem 0\nUDP: inuse 2 mem 0\n";
        assert_eq!((after(in_use, "TCP: inuse"), after(in_use, "UDP: inuse")), (5, 2));
        assert_eq!(last_id("0.00 0.01 0.05 1/201 4711\n"), 4711);
    }

    #[test]
    fn connections_of_no_process_are_known_by_the_counters() {
        let bench = Bench::new();
        for (line, expected) in [
            ("TCP: inuse 5 orphan 0 tw 0 alloc 6 mem 0\n", false),
            ("TCP: inuse 5 orphan 0 tw 3 alloc 6 mem 0\n", true),
            ("TCP: inuse 5 orphan 1 tw 0 alloc 6 mem 0\n", true),
            ("", false),
        ] {
            bench.write("sockstat", line);
            assert_eq!(has_closed(bench.folder.path()), expected, "{line}");
        }
    }

    // Other processes of the machine move the counters too: asserted is only that our own deeds do.
    #[test]
    fn a_connection_a_datagram_and_a_process_move_them() {
        let mut gates = Gates::new(Path::new("/proc"));
        gates.news(true, NOBODY, &|| false);
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        drop(TcpStream::connect(server.local_addr().unwrap()).unwrap());
        assert!(gates.news(true, NOBODY, &|| false).streams);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        assert!(gates.news(true, NOBODY, &|| false).datagrams);
        assert!(std::process::Command::new("true").status().unwrap().success());
        assert!(gates.news(false, NOBODY, &|| false).started);
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
