//! What the guarded resolver says of names that no policy lists by themselves: services and aliases of an allowed host,
//! the machine's own names, reverse names; and how often it tells a refusal.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod world;

use std::net::{SocketAddr, UdpSocket};

use ringfence_records::message::Kind;
use world::{Guard, PATIENCE, World, inside, query};

const POLICY: &str = r#"
version = 1
mode = "enforce"
[egress]
allow = ["db.example:27017"]
deny = ["hidden.example"]
"#;
const A: u8 = 1;
const PTR: u8 = 12;
const AAAA: u8 = 28;
const SRV: u8 = 33;
const NO_SUCH_NAME: u8 = 3;

/// A name server: services lead to `shard.other.example` and `hidden.example`, every name has one address.
fn server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let place = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let mut answer = buffer[..length].to_vec();
            answer[2] |= 0x80;
            answer[7] = 1;
            if answer[length - 3] == SRV {
                answer[7] = 2;
                for target in [&b"\x05shard\x05other\x07example\0"[..], b"\x06hidden\x07example\0"] {
                    answer.extend_from_slice(&[0xc0, 12, 0, SRV, 0, 1, 0, 0, 0, 9, 0]);
                    answer.push(u8::try_from(6 + target.len()).unwrap());
                    answer.extend_from_slice(&[0, 0, 0, 5, 0x69, 0x89]);
                    answer.extend_from_slice(target);
                }
            } else {
                answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 203, 0, 113, 7]);
            }
            let _ = socket.send_to(&answer, client);
        }
    });
    place
}

/// Asks for records of a type; gives the response code and the number of answers.
fn ask(guard: &Guard, name: &str, kind: u8) -> (u8, u8) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut question = query(name);
    let at = question.len() - 3;
    question[at] = kind;
    socket.send_to(&question, ("127.0.0.1", guard.resolver_port)).unwrap();
    let mut answer = [0; 512];
    socket.recv(&mut answer).unwrap();
    (answer[3] & 0xf, answer[7])
}

#[test]
fn what_an_allowed_host_leads_to_is_allowed_and_what_is_denied_stays_denied() {
    if !inside("what_an_allowed_host_leads_to_is_allowed_and_what_is_denied_stays_denied") {
        return;
    }
    let mut world = World::start(POLICY);
    let guard = Guard::arrive(world.api, &[server()]).unwrap();
    guard.notice(Kind::RuntimeUp);
    assert_eq!(ask(&guard, "shard.other.example", A).0, NO_SUCH_NAME, "nothing has led there yet");
    assert_eq!(ask(&guard, "_mongodb._tcp.db.example", SRV), (0, 2));
    assert_eq!(ask(&guard, "shard.other.example", A), (0, 1));
    assert_eq!(ask(&guard, "hidden.example", A).0, NO_SUCH_NAME, "the policy denies it by name");
    assert_eq!(ask(&guard, "_mongodb._tcp.db.example", A).0, NO_SUCH_NAME, "no address of a service");
    let entries: Vec<Vec<u32>> =
        (0..1024).map(|slot| (0..8).map(|at| guard.word(1024 + slot * 8 + at)).collect()).collect();
    let tied: Vec<_> = entries.iter().filter(|slot| slot[4] != 0).map(|slot| slot[3].to_le_bytes()).collect();
    assert_eq!(tied, [[203, 0, 113, 7]], "a connection to it is judged as one to the host");
    let known = world.record(|line| line["ringfence"]["subject"]["name"] == "hidden.example");
    assert_eq!(known["ringfence"]["rule"], "egress.deny");
}

#[test]
fn the_machines_own_names_and_reverse_names_are_no_violation() {
    if !inside("the_machines_own_names_and_reverse_names_are_no_violation") {
        return;
    }
    let mut world = World::start(POLICY);
    let guard = Guard::arrive(world.api, &[server()]).unwrap();
    guard.notice(Kind::RuntimeUp);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(ask(&guard, "localhost", A), (0, 1));
    assert_eq!(ask(&guard, "app.localhost", AAAA), (0, 1));
    assert_eq!(ask(&guard, "ip6-localhost", PTR), (0, 0));
    assert_eq!(ask(&guard, host.trim(), A).0, 0);
    assert_eq!(ask(&guard, "db.example", A), (0, 1));
    assert_eq!(ask(&guard, "7.113.0.203.in-addr.arpa", PTR).0, 0, "the address of an allowed name");
    assert!(world.none(|line| line["ringfence"]["kind"] == "violation"));
    assert_eq!(ask(&guard, "9.113.0.203.in-addr.arpa", PTR).0, NO_SUCH_NAME);
    world.record(|line| line["ringfence"]["subject"]["name"] == "9.113.0.203.in-addr.arpa");
}

#[test]
fn a_refused_lookup_is_told_once_with_the_process_that_asked() {
    if !inside("a_refused_lookup_is_told_once_with_the_process_that_asked") {
        return;
    }
    let mut world = World::start(POLICY);
    let guard = Guard::arrive(world.api, &[server()]).unwrap();
    guard.notice(Kind::RuntimeUp);
    for kind in [A, AAAA] {
        assert_eq!(ask(&guard, "evil.example", kind), (NO_SUCH_NAME, 0));
    }
    let line = world.record(|line| line["ringfence"]["action"] == "resolve");
    assert_eq!(line["ringfence"]["count"], 1, "one look-up, though it asks for two families");
    assert_eq!(line["ringfence"]["actor"]["pid"], std::process::id());
    assert_eq!(line["message"], "ringfence blocked look-up of evil.example by test (egress.names)");
}
