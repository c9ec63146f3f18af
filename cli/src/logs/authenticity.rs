//! Tells the agent's records from others: by signature, by number, by the key that the `protection` record introduces.
//!
//! A record is authentic where its signature fits the key of its environment. A key counts from the first record that
//! introduces it and is signed with it. A record is forged where it has no signature, or one that does not fit, or where
//! the log says that the function printed it. [`super`] feeds it record by record, and hands on what is authentic.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use ringfence_records::seal::{END, KEY_ID_LENGTH, SIGNATURE};
use serde::Deserialize;

use super::lines::Found;
use super::ranges::Ranges;

/// Records of one environment that wait for the record that introduces its key.
const MAX_WAITING: usize = 1000;
/// Most forged records that are listed.
const MAX_LISTED: usize = 20;
/// Most characters of a forged record's message that are shown.
const MAX_MESSAGE: usize = 120;

/// What is read of a record.
#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    timestamp: String,
    #[serde(default)]
    message: String,
    ringfence: Body,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    kind: String,
    sequence: u64,
    public_key: Option<String>,
    key: String,
    signature: String,
    function: Function,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Function {
    name: String,
}

/// A record that waits for its key.
struct Waiting {
    text: String,
    log: String,
    line: u64,
}

/// One run of the agent.
#[derive(Default)]
struct Environment {
    key: Option<VerifyingKey>,
    function: String,
    since: String,
    seen: Ranges,
    authentic: u64,
    doubled: u64,
    ended: bool,
    waiting: Vec<Waiting>,
    unchecked: u64,
}

/// A record that is not the agent's.
#[derive(Debug, PartialEq, Eq)]
struct Forged {
    log: String,
    line: u64,
    why: &'static str,
    message: String,
}

/// What is known so far.
#[derive(Default)]
pub(crate) struct Review {
    environments: BTreeMap<String, Environment>,
    forged: Vec<Forged>,
    forged_more: u64,
}

impl Review {
    /// Takes one record of a log. `authentic` gets each record that turns out to be the agent's, once.
    pub(super) fn take(&mut self, found: &Found<'_>, log: &str, line: u64, authentic: &mut dyn FnMut(&str)) {
        let Ok(record) = serde_json::from_str::<Record>(&found.text) else {
            return self.forge(log, line, "it has not the shape of a record", "");
        };
        if found.by_function {
            return self.forge(log, line, "the function printed it", &record.message);
        }
        let body = &record.ringfence;
        if body.signature.is_empty() || body.key.len() != KEY_ID_LENGTH {
            return self.forge(log, line, "it has no signature", &record.message);
        }
        if let Some(public) = &body.public_key {
            match introduced(public, &body.key) {
                Some(key) if is_signed(&found.text, body, &key) => self.introduce(&record, key, authentic),
                _ => {
                    return self.forge(
                        log,
                        line,
                        "it introduces a key that did not sign it",
                        &record.message,
                    );
                }
            }
        }
        self.judge(&record, &found.text, log, line, authentic);
    }

    /// The environment's key is known now: what waited for it is judged.
    fn introduce(&mut self, record: &Record, key: VerifyingKey, authentic: &mut dyn FnMut(&str)) {
        let environment = self.environments.entry(record.ringfence.key.clone()).or_default();
        if environment.key.is_some() {
            return;
        }
        environment.key = Some(key);
        record.ringfence.function.name.clone_into(&mut environment.function);
        record.timestamp.clone_into(&mut environment.since);
        for waiting in std::mem::take(&mut environment.waiting) {
            if let Ok(record) = serde_json::from_str::<Record>(&waiting.text) {
                self.judge(&record, &waiting.text, &waiting.log, waiting.line, authentic);
            }
        }
    }

    fn judge(&mut self, record: &Record, text: &str, log: &str, line: u64, authentic: &mut dyn FnMut(&str)) {
        let body = &record.ringfence;
        let environment = self.environments.entry(body.key.clone()).or_default();
        let Some(key) = &environment.key else {
            if environment.waiting.len() < MAX_WAITING {
                environment.waiting.push(Waiting { text: text.to_owned(), log: log.to_owned(), line });
            } else {
                environment.unchecked += 1;
            }
            return;
        };
        if !is_signed(text, body, key) {
            return self.forge(log, line, "its signature does not fit", &record.message);
        }
        if environment.seen.add(body.sequence) {
            environment.authentic += 1;
            authentic(text);
        } else {
            environment.doubled += 1;
        }
        environment.ended |= body.kind == "summary";
    }

    fn forge(&mut self, log: &str, line: u64, why: &'static str, message: &str) {
        if self.forged.len() >= MAX_LISTED {
            self.forged_more += 1;
            return;
        }
        let message = message.chars().filter(|character| !character.is_control()).take(MAX_MESSAGE).collect();
        self.forged.push(Forged { log: log.to_owned(), line, why, message });
    }

    /// The result.
    pub(crate) fn finish(self) -> Report {
        Report(self)
    }

    /// How many records are forged, and how many cannot be checked.
    pub(crate) fn left_out(&self) -> (u64, u64) {
        let forged = self.forged.len() as u64 + self.forged_more;
        (forged, self.environments.values().map(Environment::unchecked).sum())
    }

    /// How many numbers are missing between the records that are there.
    pub(crate) fn missing(&self) -> u64 {
        self.environments.values().map(|environment| environment.seen.gaps().count()).sum()
    }
}

fn introduced(public: &str, id: &str) -> Option<VerifyingKey> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(public).ok()?.try_into().ok()?;
    VerifyingKey::from_bytes(&bytes).ok().filter(|_| public.starts_with(id))
}

/// Whether the signature stands at the very end, and covers all before it.
fn is_signed(text: &str, body: &Body, key: &VerifyingKey) -> bool {
    let Some((signed, rest)) = text.rsplit_once(SIGNATURE) else { return false };
    let is_last =
        rest.strip_suffix(END.trim_end()).and_then(|rest| rest.strip_suffix('"')) == Some(&*body.signature);
    let signature = BASE64_URL_SAFE_NO_PAD.decode(&body.signature).ok();
    let signature = signature.and_then(|bytes| Signature::from_slice(&bytes).ok());
    is_last && signature.is_some_and(|signature| key.verify_strict(signed.as_bytes(), &signature).is_ok())
}

/// The result, for people.
pub(crate) struct Report(Review);

impl Report {
    /// Whether every record is authentic, and none is missing.
    pub(crate) fn is_clean(&self) -> bool {
        self.0.forged.is_empty() && self.0.environments.values().all(Environment::is_clean)
    }
}

impl Environment {
    fn unchecked(&self) -> u64 {
        self.unchecked + self.waiting.len() as u64
    }

    fn is_clean(&self) -> bool {
        self.unchecked() == 0 && self.doubled == 0 && self.seen.gaps().count() == 0
    }

    fn write(&self, id: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named =
            if self.function.is_empty() { String::new() } else { format!(", function {}", self.function) };
        let since = if self.since.is_empty() { String::new() } else { format!(", since {}", self.since) };
        writeln!(out, "environment {id}{named}{since}: authentic records: {}", self.authentic)?;
        let gaps = self.seen.gaps();
        if gaps.count() != 0 {
            writeln!(out, "  missing records: {} (sequence {gaps})", gaps.count())?;
        }
        if self.doubled != 0 {
            writeln!(out, "  doubled records: {}", self.doubled)?;
        }
        if self.unchecked() != 0 {
            writeln!(
                out,
                "  unchecked records: {} (the log has no protection record that introduces this key)",
                self.unchecked()
            )?;
        }
        if self.key.is_some() && !self.ended {
            writeln!(out, "  note: no summary: the environment still runs, or its last records are missing")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Review { environments, forged, forged_more } = &self.0;
        if environments.is_empty() && forged.is_empty() {
            return writeln!(out, "no record of Ringfence in this log");
        }
        for (id, environment) in environments {
            environment.write(id, out)?;
        }
        for one in forged {
            writeln!(out, "forged: {}:{}: {}: {}", one.log, one.line, one.why, one.message)?;
        }
        if *forged_more != 0 {
            writeln!(out, "forged: {forged_more} more")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
