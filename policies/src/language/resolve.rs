//! Which policy holds for a function: the search order, and the answer to a broken policy.
//!
//! It reads through a function that the caller gives, so it does no I/O of its own and the guard and the agent come to
//! the same answer. It must not decide what a refusal looks like: that is the caller's.

use std::fmt::{self, Write};
use std::io;

use sha2::{Digest, Sha256};

use super::packs::{PACKS, pack};
use super::parse::Parsed;
use super::{Mode, Policy};

/// Largest policy file in bytes.
const MAX_FILE: usize = 256 * 1024;
/// Where a policy is looked for when `RINGFENCE_POLICY` names none.
const PLACES: [&str; 2] = ["/var/task/policy.toml", "/opt/ringfence/policy.toml"];
/// The pack that holds where there is no policy, in observe mode.
const FALLBACK: &str = "baseline";
/// Places that every function can write: a policy from there would be the attacker's. A file system that is mounted below `/mnt`
/// may be one that this function only reads, and a policy that lies there says so.
const WRITABLE: [&str; 4] = ["tmp", "dev", "proc", "var/tmp"];

/// The policy that holds, and how it was come by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The policy. After a failure it is the baseline in observe mode.
    pub policy: Policy,
    /// Where it came from.
    pub source: PolicySource,
    /// `sha256:` and 64 hexadecimal digits, over the texts of the policy's packs and of its own file.
    pub digest: String,
    /// What is odd about the variables that lead to the policy, ready to print. What is odd about the policy itself is
    /// said by `ringfence check`, and by the `protection` record where it is a rule that is not covered.
    pub warnings: Vec<String>,
    /// Why the function's own policy is not used, where it is broken.
    pub failure: Option<Failure>,
}

/// Where a policy came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    /// A file.
    File(String),
    /// A pack that `RINGFENCE_POLICY` names.
    Pack(&'static str),
    /// There is no policy: the baseline, in observe mode.
    Fallback,
    /// The function's own policy is broken: the baseline, in observe mode.
    Instead,
}

impl fmt::Display for PolicySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.write_str(path),
            Self::Pack(name) => write!(f, "pack {name}"),
            Self::Fallback => write!(f, "pack {FALLBACK}, observed: there is no policy"),
            Self::Instead => write!(f, "pack {FALLBACK}, observed: the function's own policy cannot be used"),
        }
    }
}

/// A policy that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whether the start should fail (`RINGFENCE_ON_ERROR`: `refuse`, the default, or `observe`).
    pub refuse: bool,
    /// What is wrong, for the log: lines of text.
    pub message: String,
}

/// Finds and reads the policy of a function.
///
/// `env_policy` and `on_error` are the values of `RINGFENCE_POLICY` and `RINGFENCE_ON_ERROR`; empty ones count as
/// absent. `read` gives the content of a file, and should read no more than 256 KiB and a byte of it.
pub fn resolve(
    env_policy: Option<&str>,
    on_error: Option<&str>,
    read: &dyn Fn(&str) -> io::Result<Vec<u8>>,
) -> Resolution {
    let (refuse, warning) = refusal(on_error);
    let mut resolution = match find(env_policy.filter(|value| !value.is_empty()), read) {
        Ok(Some((source, text))) => load(source, &text, refuse),
        Ok(None) => fallback(None),
        Err(message) => fallback(Some(Failure { refuse, message })),
    };
    resolution.warnings.extend(warning);
    resolution
}

/// Whether to refuse, and what to say of a value that is neither word.
fn refusal(on_error: Option<&str>) -> (bool, Option<String>) {
    match on_error {
        None | Some("" | "refuse") => (true, None),
        Some("observe") => (false, None),
        Some(other) => {
            let shown: String = other.chars().filter(|character| !character.is_control()).take(40).collect();
            (
                true,
                Some(format!("RINGFENCE_ON_ERROR is \"{shown}\": expected refuse or observe, took refuse")),
            )
        }
    }
}

/// The first policy in the search order, if there is any; what is wrong with it, if it cannot be read.
fn find(
    env_policy: Option<&str>,
    read: &dyn Fn(&str) -> io::Result<Vec<u8>>,
) -> Result<Option<(PolicySource, String)>, String> {
    if let Some(value) = env_policy {
        return find_named(value, read).map(Some);
    }
    for path in PLACES {
        match read(path) {
            Ok(bytes) => return text_of(path, bytes).map(Some),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => {
                return Err(unreadable(path, &error, "make it readable for every user (chmod a+r)"));
            }
        }
    }
    Ok(None)
}

/// The policy that `RINGFENCE_POLICY` names.
fn find_named(
    value: &str,
    read: &dyn Fn(&str) -> io::Result<Vec<u8>>,
) -> Result<(PolicySource, String), String> {
    if let Some((name, text)) = PACKS.iter().find(|(name, _)| *name == value) {
        return Ok((PolicySource::Pack(name), (*text).to_owned()));
    }
    let shown: String = value.chars().filter(|character| !character.is_control()).take(200).collect();
    if !value.starts_with('/') {
        let packs = PACKS.map(|(name, _)| name).join(", ");
        return Err(format!(
            "error: RINGFENCE_POLICY is \"{shown}\": expected an absolute path or the name of a pack\nhint: packs: {packs}"
        ));
    }
    if is_writable(value) {
        return Err(format!(
            "error: RINGFENCE_POLICY is \"{shown}\": a policy may not come from a place that the function can write\n\
             hint: ship it with the code (/var/task) or in a layer (/opt)"
        ));
    }
    let bytes = read(value).map_err(|error| {
        unreadable(&shown, &error, "RINGFENCE_POLICY names it; check the path, or unset the variable")
    })?;
    text_of(value, bytes)
}

/// Whether `path` could lie in a writable place; what cannot be told by its text counts as such.
fn is_writable(path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    let odd = parts.clone().any(|part| matches!(part, "" | "." | "..")) || path.contains('\0');
    let first = parts.next().unwrap_or("");
    let second = parts.next().unwrap_or("");
    odd || WRITABLE.iter().any(|place| *place == first || *place == format!("{first}/{second}"))
}

fn unreadable(path: &str, error: &io::Error, hint: &str) -> String {
    format!("error: cannot read the policy {path}: {error}\nhint: {hint}")
}

fn text_of(path: &str, bytes: Vec<u8>) -> Result<(PolicySource, String), String> {
    if bytes.len() > MAX_FILE {
        return Err(format!(
            "error: the policy {path} is larger than 256 KiB\nhint: use wildcards to say more with less"
        ));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| format!("error: the policy {path} is not UTF-8 text\nhint: save it as UTF-8"))?;
    Ok((PolicySource::File(path.to_owned()), text))
}

fn load(source: PolicySource, text: &str, refuse: bool) -> Resolution {
    let file = match &source {
        PolicySource::File(path) => path.clone(),
        other => other.to_string(),
    };
    match Policy::parse(&file, text) {
        Ok(Parsed { policy, packs, .. }) => Resolution {
            policy,
            source,
            digest: digest(packs.iter().filter_map(|name| pack(name)).chain([text])),
            warnings: Vec::new(),
            failure: None,
        },
        Err(findings) => fallback(Some(Failure { refuse, message: findings.to_string() })),
    }
}

/// The baseline in observe mode.
fn fallback(failure: Option<Failure>) -> Resolution {
    let text = pack(FALLBACK).unwrap_or_default();
    let parsed = Policy::parse(FALLBACK, text).map(|parsed| parsed.policy).unwrap_or_default();
    Resolution {
        policy: Policy { mode: Mode::Observe, ..parsed }.observing(),
        source: if failure.is_some() { PolicySource::Instead } else { PolicySource::Fallback },
        digest: digest([text].into_iter()),
        warnings: Vec::new(),
        failure,
    }
}

/// The digest over the texts, each preceded by its length, so that no two lists of texts run together.
fn digest<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
