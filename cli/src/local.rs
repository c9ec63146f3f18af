//! `ringfence local`: the command line of the local Lambda service, a contract of its own (docs/local.md).
//!
//! Decides the spelling of the options; must not know how an environment is built.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use ringfence_local::options::{LayerChoice, Network, Options, OutputFormat, Profile, RuntimeKind, Start};

use crate::learn::Learner;

/// The commands below `ringfence local`.
#[derive(Subcommand)]
pub(crate) enum Local {
    /// Invoke a function with events, in order, in one warm environment
    Invoke(Box<Invoke>),
}

/// Exit status: 0 all events were answered, 1 a function error or timeout, 2 wrong usage, 3 the environment could not
/// be built.
#[derive(Args)]
pub(crate) struct Invoke {
    /// The function's code; becomes /var/task
    #[arg(long, value_name = "DIR")]
    code: PathBuf,
    /// The handler, as in app.handler
    #[arg(long)]
    handler: String,
    /// python3.9 to 3.14, nodejs18.x to 24.x, java17 to 25, ruby3.2 to 3.4, dotnet8, provided.al2023;
    /// or python3, node, java, ruby, provided: what is on PATH
    #[arg(long)]
    runtime: RuntimeKind,
    /// The interpreter to take in place of one on PATH
    #[arg(long, value_name = "PATH")]
    interpreter: Option<PathBuf>,
    /// As an image on AWS's base image: /lambda-entrypoint.sh with the handler
    #[arg(long, conflicts_with = "entrypoint")]
    image: bool,
    /// As an image with this command: words, or a JSON list; no bootstrap, no wrapper
    #[arg(long, value_name = "COMMAND", value_parser = command)]
    entrypoint: Option<Command>,
    /// Number of the managed runtimes' log descriptor, or none
    #[arg(long, value_name = "N", default_value = "62", value_parser = log_fd)]
    log_fd: LogFd,
    /// Where the APIs are [default: 127.0.0.1:9001]
    #[arg(long, value_name = "ADDRESS:PORT")]
    api: Option<SocketAddr>,
    /// A policy that goes before the one in the code directory
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The layer [default: build/ringfence-layer-x86_64.zip]
    #[arg(long, value_name = "ZIP", conflicts_with = "no_layer")]
    layer: Option<PathBuf>,
    /// Run without the layer
    #[arg(long)]
    no_layer: bool,
    /// What the kernel grants: strict, nested, open or managed-instances
    #[arg(long, default_value = "strict")]
    profile: Profile,
    /// A variable of the function's configuration
    #[arg(long, value_name = "K=V", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Configured memory in MB (told to the function, not enforced)
    #[arg(long, default_value_t = 512, value_name = "MB")]
    memory: u32,
    /// Time limit of an invocation in seconds
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
    /// What can be reached: none, inherit or world:FILE
    #[arg(long, default_value = "none")]
    network: Network,
    /// A directory to merge into /opt, as a further layer
    #[arg(long, value_name = "DIR")]
    opt: Vec<PathBuf>,
    /// Invocations at the same time (managed-instances only)
    #[arg(long, default_value_t = 1, value_name = "N")]
    concurrency: usize,
    /// json or text
    #[arg(long, default_value = "text")]
    output: OutputFormat,
    /// Run under the pack learn, and write the policy of what was seen; a policy that is there is widened
    #[arg(long, value_name = "POLICY.toml", conflicts_with_all = ["policy", "no_layer"])]
    learn: Option<PathBuf>,
    /// Event files; - is standard input
    #[arg(required = true, value_name = "EVENT.json")]
    events: Vec<PathBuf>,
}

impl Local {
    /// Runs the command to its exit status.
    pub(crate) fn run(self) -> ExitCode {
        let Self::Invoke(mut invoke) = self;
        let learn = invoke.learn.take();
        if learn.is_some() {
            invoke.env.push(("RINGFENCE_POLICY".to_owned(), "learn".to_owned()));
        }
        let learner = Learner::default();
        match ringfence_local::run::invoke(&invoke.options(), Box::new(learner.tee(io::stdout()))) {
            Ok(status) => match learn.map(|file| learner.write(&file)) {
                Some(failed) if failed != ExitCode::SUCCESS => failed,
                _ => ExitCode::from(status),
            },
            Err(error) => {
                eprintln!("ringfence local: {error}");
                ExitCode::from(error.exit_status())
            }
        }
    }
}

impl Invoke {
    fn options(self) -> Options {
        let layer = match self.layer {
            Some(zip) => LayerChoice::Zip(zip),
            None if self.no_layer => LayerChoice::None,
            None => LayerChoice::Default,
        };
        let start = match self.entrypoint {
            Some(Command(words)) => Start::Command(words),
            None if self.image => Start::BaseImage,
            None => Start::Zip,
        };
        Options {
            code: self.code,
            handler: self.handler,
            runtime: self.runtime,
            interpreter: self.interpreter,
            start,
            log_fd: self.log_fd.0,
            api: self.api,
            policy: self.policy,
            layer,
            profile: self.profile,
            env: self.env,
            memory_mb: self.memory,
            timeout: self.timeout,
            network: self.network,
            further_layers: self.opt,
            concurrency: self.concurrency,
            output: self.output,
            events: self.events,
        }
    }
}

/// A command's words.
#[derive(Debug, Clone)]
struct Command(Vec<String>);

/// The number of the log descriptor, or none.
#[derive(Debug, Clone, Copy)]
struct LogFd(Option<u16>);

fn command(text: &str) -> Result<Command, String> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map(Command).map_err(|e| format!("no JSON list of words: {e}"));
    }
    Ok(Command(text.split_whitespace().map(str::to_owned).collect()))
}

fn log_fd(text: &str) -> Result<LogFd, String> {
    if text == "none" {
        return Ok(LogFd(None));
    }
    text.parse().map(|number| LogFd(Some(number))).map_err(|_| "expected a number or none".to_owned())
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Lambda's own limit is 900 seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds")?;
    if !(0.1..=900.0).contains(&seconds) {
        return Err("between 0.1 and 900 seconds".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}
