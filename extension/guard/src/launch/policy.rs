//! The policy that holds: found, parsed and compiled for this start.
//!
//! It adds only I/O and the date to what the policy crate decides. `launch` calls it.

use std::fs::File;
use std::io::{self, Read as _};
use std::time::{SystemTime, UNIX_EPOCH};

use ringfence_policy::{Date, Language, Mode, OnDegraded, Resolution, RuleUse, resolve};

use super::settings::Settings;

/// Bytes of a policy file that are read; one more than the policy crate accepts, so that it can say "too large".
const MAX_READ: u64 = 256 * 1024 + 1;

/// A policy, ready to be enforced.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The compiled form, for guard and preload library.
    pub compiled: Vec<u8>,
    /// `sha256:…` of its source.
    pub digest: String,
    /// Where it came from, for people.
    pub source: String,
    /// What the policy asks for, today.
    pub rules: Vec<RuleUse>,
    /// `on_degraded = "refuse"`.
    pub refuse_when_degraded: bool,
    /// What concerns the language hooks.
    pub hooks: Hooks,
    /// Warnings and, where the function's own policy was not usable, why.
    pub remarks: Vec<String>,
}

/// What the policy says to and of the language hooks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// `hooks.python`.
    pub python: bool,
    /// `hooks.node`.
    pub node: bool,
    /// `hooks.java`.
    pub java: bool,
    /// What the policy asks of them: `evaluate=report,native=deny,reads=deny`; empty for nothing.
    pub words: String,
}

impl Hooks {
    /// Whether they deny reads of credentials.
    #[must_use]
    pub fn deny_reads(&self) -> bool {
        self.words.split(',').any(|word| word == "reads=deny")
    }
}

impl Loaded {
    /// Whether the policy asks for nothing at all (mode `off` everywhere).
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.rules.iter().all(|rule| rule.mode == Mode::Off)
    }
}

/// Loads the policy.
///
/// # Errors
/// The text to print where the start is to be refused.
pub fn load(settings: &Settings) -> Result<Loaded, String> {
    let resolution = resolve(settings.policy.as_deref(), settings.on_error.as_deref(), &read);
    if let Some(failure) = resolution.failure.as_ref().filter(|failure| failure.refuse) {
        return Err(failure.message.clone());
    }
    compile(resolution)
}

fn compile(resolution: Resolution) -> Result<Loaded, String> {
    let today =
        Date::from_unix_seconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()));
    let compiled = resolution.policy.compile(today).map_err(|error| format!("error: {error}"))?;
    let failure = resolution.failure.map(|failure| failure.message);
    let effective = resolution.policy.effective(today);
    let hooks = Hooks {
        python: effective.loads_hook(Language::Python),
        node: effective.loads_hook(Language::Node),
        java: effective.loads_hook(Language::Java),
        words: effective.hook_words(),
    };
    Ok(Loaded {
        hooks,
        compiled,
        digest: resolution.digest,
        source: resolution.source.to_string(),
        rules: effective.rules_in_use(),
        refuse_when_degraded: resolution.policy.on_degraded == OnDegraded::Refuse,
        remarks: resolution.warnings.into_iter().chain(failure).collect(),
    })
}

fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_READ).read_to_end(&mut bytes)?;
    Ok(bytes)
}
