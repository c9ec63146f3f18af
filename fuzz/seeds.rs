//! Writes the seeds that are no text: `cargo run --example seeds` in this folder. They are kept in the repository.

use std::path::Path;
use std::sync::atomic::AtomicU32;

use ringfence_policy::{Date, Phase, Plane, Policy, Rule};
use ringfence_records::handoff::Handoff;
use ringfence_records::message::{ActionKind, Kind, Outcome, Report};
use ringfence_records::page::{Editor, Invocation};
use ringfence_records::wire::{MAX_MESSAGE, Writer};

const TODAY: Date = Date { year: 2026, month: 12, day: 1 };

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = root.join(target);
        std::fs::create_dir_all(&folder).expect("the folder of seeds can be made");
        std::fs::write(folder.join(name), bytes).expect("a seed can be written");
    };
    for entry in std::fs::read_dir(root.join("policy_text")).expect("there are policies").flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let name = entry.file_name().into_string().unwrap_or_default();
        let Ok(parsed) = Policy::parse(&name, &text) else { continue };
        let Ok(bytes) = parsed.policy.compile(TODAY) else { continue };
        write("compiled_policy", &name, &bytes);
        write("handoff", &name, &handoff(&bytes));
    }
    write("handoff", "page", &page());
    for kind in [Kind::Violation, Kind::Hint, Kind::Degraded] {
        write("messages", &format!("{kind:?}").to_lowercase(), &report(kind));
    }
    let mut buffer = [0; MAX_MESSAGE];
    let mut hello = Writer::new(&mut buffer, Kind::Hello as u8).expect("there is room");
    for tag in 0..64 {
        hello.bytes(tag, &[1, 2, 3, 4, 5, 6, 7, 8], 8);
    }
    write("messages", "hello", hello.finish());
    let at = |words: [u64; 7], more: &[u8]| {
        let bytes: Vec<u8> =
            words.into_iter().flat_map(u64::to_ne_bytes).chain(more.iter().copied()).collect();
        bytes
    };
    let address = b"\x02\0\x01\xbb\xcb\0\x71\x09\0\0\0\0\0\0\0\0";
    write("msghdr", "named", &at([56, 16, 72, 1, 0, 0, 0], address));
    write("msghdr", "control", &at([0, 0, 56, 1, 72, 24, 0], &[address, &address[..]].concat()));
    write("msghdr", "address", address);
    let query = |kind: u8, more: &[u8]| {
        let head = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03api\x07example\x03com\0\0".to_vec();
        [&head[..], &[kind, 0, 1], more].concat()
    };
    write("dns", "question", &query(1, b""));
    write("dns", "https", &query(65, b""));
    let mut answer = query(1, b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03cdn\xc0\x10\xc0\x2d\0\x01\0\x01\0\0\0\x3c\0\x04\xcb\0\x71\x09");
    answer[2] = 0x81;
    answer[7] = 2;
    write("dns", "answer", &answer);
}

fn handoff(policy: &[u8]) -> Vec<u8> {
    let mut handoff = Handoff::with_policy(policy);
    handoff.strongest = Plane::Kernel;
    handoff.runtime_api = Some(([127, 0, 0, 1], 9001).into());
    handoff.resolver = Some(([127, 0, 0, 1], 53).into());
    handoff.function = b"orders";
    handoff.preload_path = b"/opt/ringfence/lib/libringfence.so";
    handoff.command = b"/var/runtime/bootstrap\0";
    let mut bytes = Vec::new();
    handoff.encode(|part| bytes.extend_from_slice(part));
    bytes
}

fn page() -> Vec<u8> {
    let words: Vec<AtomicU32> = (0..1024).map(|_| AtomicU32::new(0)).collect();
    let page = Editor::new(&words[..]);
    page.publish(&Invocation::new(Phase::Invoke).with_request(b"3da1"));
    page.add_name([127, 0, 0, 1].into(), 2);
    words.into_iter().flat_map(|word| word.into_inner().to_le_bytes()).collect()
}

fn report(kind: Kind) -> Vec<u8> {
    let mut report = Report::new(kind, ActionKind::Exec);
    (report.pid, report.parent, report.outcome) = (17, 1, Outcome::Blocked);
    (report.rule, report.plane) = (Rule::ProcessShells, Plane::Process);
    (report.path, report.exe, report.chain) = (b"/bin/sh", b"/var/lang/bin/python3.12", b"python3.12 > sh");
    report.arguments.push(b"sh");
    report.address = Some(([203, 0, 113, 9], 443).into());
    let mut buffer = [0; MAX_MESSAGE];
    report.encode(&mut buffer).map(<[u8]>::to_vec).unwrap_or_default()
}
