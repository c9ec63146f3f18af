//! What the user may choose for a local run: the command line of DESIGN section 6 as types.
//!
//! Decides which spellings are accepted; must not know how anything is carried out.
//! Built by the CLI, read by every other module.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the kernel grants to runtime and extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// Today's Lambda as known: `prctl`, `seccomp`, `ptrace`, … refused.
    Strict,
    /// The same, but `seccomp(2)` passes.
    Nested,
    /// A container's freedom: no filter.
    Open,
    /// No filter, SHUTDOWN only, parallel invocations, telemetry 2025-01-29.
    ManagedInstances,
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "strict" => Ok(Self::Strict),
            "nested" => Ok(Self::Nested),
            "open" => Ok(Self::Open),
            "managed-instances" => Ok(Self::ManagedInstances),
            _ => Err(format!("`{text}` is no profile: strict, nested, open or managed-instances")),
        }
    }
}

/// The language runtime that the function is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// The `python3` on PATH with `awslambdaric`.
    Python3,
    /// The `node` on PATH with `aws-lambda-ric`.
    Node,
    /// The `java` on PATH with `aws-lambda-java-runtime-interface-client`.
    Java,
    /// An executable `bootstrap` in the code directory or in /opt.
    Provided,
}

impl FromStr for RuntimeKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "python3" => Ok(Self::Python3),
            "node" => Ok(Self::Node),
            "java" => Ok(Self::Java),
            "provided" => Ok(Self::Provided),
            _ => Err(format!("`{text}` is no runtime: python3, node, java or provided")),
        }
    }
}

/// What the function can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// A name space of its own with nothing but the loopback device.
    None,
    /// The name space in which the command was started.
    Inherit,
    /// A private world of hosts described by a TOML file.
    World(PathBuf),
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "inherit" => Ok(Self::Inherit),
            Some(("world", file)) if !file.is_empty() => Ok(Self::World(PathBuf::from(file))),
            _ => Err(format!("`{text}` is no network: none, inherit or world:FILE")),
        }
    }
}

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// One JSON object a line.
    Json,
    /// What a person reads in a log console.
    Text,
}

impl FromStr for OutputFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(format!("`{text}` is no output format: json or text")),
        }
    }
}

/// Which layer is mounted at /opt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerChoice {
    /// `--no-layer`.
    None,
    /// `--layer ZIP`.
    Zip(PathBuf),
    /// The zip that `scripts/build-layer` leaves under the current directory.
    Default,
}

/// Everything that `ringfence local invoke` was told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The function's code, mounted at /var/task.
    pub code: PathBuf,
    /// The handler, as the function's configuration names it.
    pub handler: String,
    /// Its runtime.
    pub runtime: RuntimeKind,
    /// A policy that goes before the one in the code directory.
    pub policy: Option<PathBuf>,
    /// The Ringfence layer.
    pub layer: LayerChoice,
    /// What the kernel grants.
    pub profile: Profile,
    /// Variables of the function's configuration.
    pub env: Vec<(String, String)>,
    /// Configured memory in MB. It is told to the function, not enforced.
    pub memory_mb: u32,
    /// Time limit of one invocation.
    pub timeout: Duration,
    /// What the function can reach.
    pub network: Network,
    /// Further layers: directories merged into /opt in this order.
    pub further_layers: Vec<PathBuf>,
    /// Invocations at the same time; more than one only with [`Profile::ManagedInstances`].
    pub concurrency: usize,
    /// The form of the output.
    pub output: OutputFormat,
    /// Event files in order; `-` is standard input.
    pub events: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_needs_its_file() {
        assert_eq!("world:w.toml".parse(), Ok(Network::World(PathBuf::from("w.toml"))));
        assert!("world:".parse::<Network>().is_err());
        assert!("world".parse::<Network>().is_err());
        assert!("none:x".parse::<Network>().is_err());
    }
}
