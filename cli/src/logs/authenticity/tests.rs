//! What a review says of a log that is whole, and of one that was changed.

use std::borrow::Cow;

use ed25519_dalek::{Signer as _, SigningKey};
use ringfence_records::seal::{KEY, PUBLIC_KEY};

use super::*;

/// An agent: a key, and a number that rises.
struct Agent(SigningKey, u64);

impl Agent {
    fn new(seed: u8) -> Self {
        Self(SigningKey::from_bytes(&[seed; 32]), 0)
    }

    fn line(&mut self, kind: &str, message: &str) -> String {
        self.1 += 1;
        let public = BASE64_URL_SAFE_NO_PAD.encode(self.0.verifying_key().as_bytes());
        let introduced = if kind == "protection" { format!("{PUBLIC_KEY}{public}\"") } else { String::new() };
        let line = format!(
            r#"{{"timestamp":"2026-11-22T01:02:03.456Z","level":"INFO","message":"{message}","ringfence":{{"kind":"{kind}","function":{{"name":"orders"}},"sequence":{}{introduced}{KEY}{}""#,
            self.1,
            &public[..KEY_ID_LENGTH]
        );
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.0.sign(line.as_bytes()).to_bytes());
        [&line, SIGNATURE, &signature, "\"}}"].concat()
    }
}

fn review(lines: &[String]) -> (String, bool) {
    let mut review = Review::default();
    for (index, line) in lines.iter().enumerate() {
        let found = Found { text: Cow::Borrowed(line.as_str()), by_function: false };
        review.take(&found, "log", index as u64 + 1, &mut |_| ());
    }
    let report = review.finish();
    (report.to_string(), report.is_clean())
}

fn whole() -> Vec<String> {
    let mut agent = Agent::new(7);
    ["degraded", "protection", "violation", "violation", "summary"]
        .map(|kind| agent.line(kind, kind))
        .to_vec()
}

#[test]
fn a_whole_log_is_authentic_also_where_the_key_comes_second() {
    let (text, clean) = review(&whole());
    assert!(clean, "{text}");
    insta::assert_snapshot!(text, @"environment 6kpsY-KcUgq-, function orders, since 2026-11-22T01:02:03.456Z: authentic records: 5");
}

#[test]
fn forged_missing_and_doubled_lines_are_told() {
    let mut lines = whole();
    lines.remove(2);
    lines.push(lines[1].clone());
    lines.push(lines[2].replace("\"message\":\"violation\"", "\"message\":\"nothing\""));
    lines.push(r#"{"message":"ringfence blocked a thing","ringfence":{"kind":"violation"}}"#.to_owned());
    let (text, clean) = review(&lines);
    assert!(!clean);
    insta::assert_snapshot!(text, @r"
    environment 6kpsY-KcUgq-, function orders, since 2026-11-22T01:02:03.456Z: authentic records: 4
      missing records: 1 (sequence 3)
      doubled records: 1
    forged: log:6: its signature does not fit: nothing
    forged: log:7: it has no signature: ringfence blocked a thing
    ");
}

#[test]
fn a_key_counts_only_where_it_signs_the_record_that_introduces_it() {
    let honest = Agent::new(7).line("protection", "a");
    let other = BASE64_URL_SAFE_NO_PAD.encode(Agent::new(8).0.verifying_key().as_bytes());
    let own = BASE64_URL_SAFE_NO_PAD.encode(Agent::new(7).0.verifying_key().as_bytes());
    let (text, clean) = review(&[honest.replace(&own, &other)]);
    assert!(!clean);
    insta::assert_snapshot!(text, @"forged: log:1: it introduces a key that did not sign it: a");
}

#[test]
fn records_of_a_key_that_nothing_introduces_are_unchecked() {
    let mut agent = Agent::new(7);
    let (text, clean) = review(&[agent.line("violation", "a"), agent.line("violation", "b")]);
    assert!(!clean);
    insta::assert_snapshot!(text, @r"
    environment 6kpsY-KcUgq-: authentic records: 0
      unchecked records: 2 (the log has no protection record that introduces this key)
    ");
}

#[test]
fn what_the_function_printed_is_forged_whatever_it_says() {
    let line = Agent::new(7).line("protection", "mine");
    let mut review = Review::default();
    review.take(&Found { text: Cow::Borrowed(&line), by_function: true }, "log", 1, &mut |_| ());
    insta::assert_snapshot!(review.finish().to_string(), @"forged: log:1: the function printed it: mine");
}

#[test]
fn a_log_without_records_says_so() {
    assert_eq!(review(&[]), ("no record of Ringfence in this log\n".to_owned(), true));
}
