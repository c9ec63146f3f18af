//! Which events become lines, how they read, and that they end.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// The lines of what `events` does, under this value of the variable.
fn lines(value: &str, events: impl FnOnce()) -> Vec<String> {
    let written = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&written);
    let sink = move |line: &[u8]| taken.lock().unwrap().push(String::from_utf8(line.to_vec()).unwrap());
    let log = Log::new(LogFilter::parse(value).unwrap(), &[SECRET.as_bytes().to_vec()], sink);
    tracing::subscriber::with_default(log, events);
    let lines = written.lock().unwrap();
    lines.iter().map(|line| without_time(line)).collect()
}

fn without_time(line: &str) -> String {
    let words = line.split(' ').filter(|word| !(word.starts_with('+') && word.ends_with("ms")));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_line_says_level_part_message_and_fields() {
    let told = lines("debug", || {
        tracing::debug!(target: "resolver", name = "db.example", allowed = true, count = 3, "a look-up is judged");
        tracing::warn!(target: "fault", detail = %"two\nlines \"quoted\"", "does not work as announced");
        tracing::trace!(target: "resolver", "not at this level");
    });
    insta::assert_snapshot!(told.concat(), @r#"
    ringfence log debug resolver: a look-up is judged name=db.example allowed=true count=3
    ringfence log warn fault: does not work as announced detail="two\nlines \"quoted\""
    "#);
}

#[test]
fn a_part_has_a_level_of_its_own() {
    let told = lines("off,ledger=info", || {
        tracing::info!(target: "ledger", "looked");
        tracing::error!(target: "policy", "broken");
    });
    assert_eq!(told, ["ringfence log info ledger: looked\n"]);
}

#[test]
fn secrets_are_masked_whole_cut_and_behind_words() {
    let told = lines("trace", || {
        let beyond = format!("{}{SECRET}", "x".repeat(MAX_LINE - 20));
        tracing::trace!(target: "start", whole = SECRET, cut = &SECRET[..20], header = "Authorization: Bearer abcdefghijkl", beyond, "{SECRET}");
    })
    .concat();
    for part in [SECRET, &SECRET[..16], &SECRET[20..], "abcdefghijkl", "wJalrXUt"] {
        assert!(!told.contains(part), "{part} in {told}");
    }
}

#[test]
fn a_line_is_bounded() {
    let long = "é".repeat(MAX_LINE);
    let told = lines("trace", || {
        tracing::trace!(target: "start", a = %long, b = %long, c = %long, d = %long, e = %long, "much");
    });
    assert!(told[0].len() <= MAX_LINE && told[0].ends_with("…\n"), "{told:?}");
}

#[test]
fn their_number_is_bounded_and_the_end_is_said_once() {
    let told = lines("trace", || {
        (0..MAX_LINES + 100).for_each(|number| tracing::trace!(target: "start", number, "much"));
    });
    assert_eq!(told.len(), MAX_LINES as usize + 1);
    assert_eq!(told.last().unwrap(), ENOUGH);
    assert!(ENOUGH.contains(&MAX_LINES.to_string()));
}

proptest! {
    #[test]
    fn no_value_makes_a_second_line_or_a_record(value in ".{0,100}", bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let told = lines("trace", || {
            let bytes = String::from_utf8_lossy(&bytes).into_owned();
            tracing::info!(target: "policy", value, %bytes, "{bytes}");
        });
        prop_assert_eq!(told.len(), 1);
        prop_assert_eq!(told[0].lines().count(), 1, "{:?}", told);
        prop_assert!(told[0].starts_with("ringfence log info policy: "));
    }
}
