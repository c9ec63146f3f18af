//! What the user may choose for a local run: the command line of DESIGN section 6 as types.
//!
//! Decides which spellings are accepted; must not know how anything is carried out.
//! Built by the CLI, read by every other module.

use std::net::SocketAddr;
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

/// The language whose interpreter runs the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// With `awslambdaric`.
    Python,
    /// With `aws-lambda-ric`.
    Node,
    /// With `aws-lambda-java-runtime-interface-client`.
    Java,
    /// With `aws_lambda_ric`.
    Ruby,
    /// With `Amazon.Lambda.RuntimeSupport`.
    Dotnet,
    /// An executable `bootstrap` in the code directory or in /opt.
    Provided,
}

/// The runtime of the function's configuration: a language, and its version unless any will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuntimeKind {
    /// The language.
    pub language: Language,
    /// The version as Lambda's identifier spells it; `None` takes what is on PATH.
    pub version: Option<&'static str>,
}

/// Every accepted identifier. The first spelling of a language has no version and takes what is on PATH.
const RUNTIMES: &[(&str, Language, Option<&str>)] = &[
    ("python3", Language::Python, None),
    ("python3.9", Language::Python, Some("3.9")),
    ("python3.10", Language::Python, Some("3.10")),
    ("python3.11", Language::Python, Some("3.11")),
    ("python3.12", Language::Python, Some("3.12")),
    ("python3.13", Language::Python, Some("3.13")),
    ("python3.14", Language::Python, Some("3.14")),
    ("node", Language::Node, None),
    ("nodejs18.x", Language::Node, Some("18")),
    ("nodejs20.x", Language::Node, Some("20")),
    ("nodejs22.x", Language::Node, Some("22")),
    ("nodejs24.x", Language::Node, Some("24")),
    ("java", Language::Java, None),
    ("java17", Language::Java, Some("17")),
    ("java21", Language::Java, Some("21")),
    ("java25", Language::Java, Some("25")),
    ("ruby", Language::Ruby, None),
    ("ruby3.2", Language::Ruby, Some("3.2")),
    ("ruby3.3", Language::Ruby, Some("3.3")),
    ("ruby3.4", Language::Ruby, Some("3.4")),
    ("dotnet8", Language::Dotnet, Some("8")),
    ("provided", Language::Provided, None),
    ("provided.al2", Language::Provided, Some("al2")),
    ("provided.al2023", Language::Provided, Some("al2023")),
];

impl FromStr for RuntimeKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = RUNTIMES.iter().find(|(name, ..)| *name == text);
        found.map(|(_, language, version)| Self { language: *language, version: *version }).ok_or_else(|| {
            let names: Vec<&str> = RUNTIMES.iter().map(|(name, ..)| *name).collect();
            format!("`{text}` is no runtime; known are {}", names.join(", "))
        })
    }
}

/// How the first process of the function is started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Start {
    /// A zip archive: the platform starts the runtime's bootstrap.
    #[default]
    Zip,
    /// An image on AWS's base image: /lambda-entrypoint.sh with the handler as its only argument.
    BaseImage,
    /// An image with an ENTRYPOINT of its own: this command, no bootstrap, no wrapper.
    Command(Vec<String>),
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
    /// The interpreter to take in place of one on PATH.
    pub interpreter: Option<PathBuf>,
    /// Zip archive or image.
    pub start: Start,
    /// The number under which the runtime finds the platform's log descriptor, or `None` for a platform without one.
    pub log_fd: Option<u16>,
    /// Where the APIs are; `None` takes 127.0.0.1:9001, or a free port in the caller's network.
    pub api: Option<SocketAddr>,
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
    fn a_runtime_is_one_of_lambdas_identifiers_or_a_language() {
        let python = |version| Ok(RuntimeKind { language: Language::Python, version });
        assert_eq!("python3".parse(), python(None));
        assert_eq!("python3.14".parse(), python(Some("3.14")));
        let error = "python2.7".parse::<RuntimeKind>().unwrap_err();
        insta::assert_snapshot!(error, @"`python2.7` is no runtime; known are python3, python3.9, python3.10, python3.11, python3.12, python3.13, python3.14, node, nodejs18.x, nodejs20.x, nodejs22.x, nodejs24.x, java, java17, java21, java25, ruby, ruby3.2, ruby3.3, ruby3.4, dotnet8, provided, provided.al2, provided.al2023");
    }

    #[test]
    fn a_world_needs_its_file() {
        assert_eq!("world:w.toml".parse(), Ok(Network::World(PathBuf::from("w.toml"))));
        assert!("world:".parse::<Network>().is_err());
        assert!("world".parse::<Network>().is_err());
        assert!("none:x".parse::<Network>().is_err());
    }
}
