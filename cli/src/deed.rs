//! A deed: what a record says that a process did, or what a person writes on the command line, and what a policy says of it.
//!
//! It turns words into the policy crate's actions, and knows which line of policy would allow what. It must not know where
//! words come from, nor how an answer is shown.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ringfence_policy::{
    Action, CREDENTIAL_VARIABLES, Context, Decision, Destination, Exec, Linkage, Origin, Phase, Plane,
    Policy, Role, Rule, Transport, Verdict, is_in_writable_place,
};

use crate::record::{Body, PolicyLine};

/// Stands for the address of a host that is known by its name alone (RFC 5737: documentation).
const SOME_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
/// Words for actions, as `explain` takes them, each with an example of what follows.
pub(crate) const ACTIONS: [(&str, &str); 16] = [
    ("exec", "/bin/sh"),
    ("map-executable", "/tmp/lib.so"),
    ("connect", "api.example.com:443"),
    ("send", "203.0.113.10:53"),
    ("resolve", "api.example.com"),
    ("bind", "0.0.0.0:8080"),
    ("open-read", "/etc/shadow"),
    ("open-write", "/tmp/x"),
    ("read-credential", "AWS_SECRET_ACCESS_KEY"),
    ("inherit-credentials", "AWS_SECRET_ACCESS_KEY"),
    ("dangerous-call", "ptrace"),
    ("survive", ""),
    ("residue", "/tmp/x"),
    ("evaluate", ""),
    ("deserialize", ""),
    ("native", ""),
];

/// Something that a process does, in its circumstances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deed {
    pub(crate) what: What,
    pub(crate) phase: Phase,
    pub(crate) role: Role,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Exec {
        given: String,
        resolved: String,
        origin: Origin,
        linkage: Linkage,
    },
    Map {
        path: String,
        origin: Origin,
    },
    Connect {
        name: Option<String>,
        address: Option<IpAddr>,
        port: u16,
        transport: Transport,
        runtime_api: bool,
    },
    Resolve {
        name: String,
    },
    Bind {
        address: SocketAddr,
    },
    Read {
        path: String,
    },
    Write {
        path: String,
    },
    Credential {
        variable: String,
        package: Option<String>,
    },
    Inherit {
        variable: String,
    },
    Dangerous {
        call: String,
    },
    Residue {
        path: String,
    },
    /// What no action describes: a survivor, or what the hooks judge.
    Other(Rule),
}

impl What {
    /// Reads `ACTION SUBJECT`. The action is written as records write it, with `-` or `_`.
    ///
    /// # Errors
    /// What was expected, for a person.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (word, subject) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
        let (word, subject) = (word.replace('_', "-"), subject.trim());
        let example = ACTIONS.iter().find(|(known, _)| *known == word).map(|(_, example)| *example);
        let example = match (word.as_str(), example) {
            ("import", _) => "",
            (_, Some(example)) => example,
            (_, None) => {
                let known: Vec<&str> = ACTIONS.iter().map(|(known, _)| *known).chain(["import"]).collect();
                return Err(format!(
                    "no action is called \"{}\"\nhint: write one of {}",
                    shown(&word),
                    known.join(", ")
                ));
            }
        };
        if subject.is_empty() && !example.is_empty() {
            return Err(format!("{word} needs a subject\nhint: write '{word} {example}'"));
        }
        Self::of(&word, subject).ok_or_else(|| {
            format!("\"{}\" is no subject of {word}\nhint: write '{word} {example}'", shown(subject))
        })
    }

    fn of(word: &str, subject: &str) -> Option<Self> {
        let text = || subject.to_owned();
        let path = || subject.starts_with('/').then(text);
        Some(match word {
            "exec" => Self::exec(path()?, path()?, Rule::None),
            "map-executable" => Self::Map { path: path()?, origin: origin(subject) },
            "connect" => Self::connect(subject, Transport::Stream)?,
            "send" => Self::connect(subject, Transport::Datagram)?,
            "resolve" => Self::Resolve { name: host(subject)? },
            "bind" => Self::Bind { address: subject.parse().ok()? },
            "open-read" => Self::Read { path: path()? },
            "open-write" => Self::Write { path: path()? },
            "read-credential" => Self::Credential { variable: text(), package: None },
            "inherit-credentials" => Self::Inherit { variable: text() },
            "dangerous-call" => Self::Dangerous { call: text() },
            "survive" => Self::Other(Rule::ProcessSurvivors),
            "residue" => Self::Residue { path: path()? },
            "evaluate" => Self::Other(Rule::CodeEvaluate),
            "deserialize" => Self::Other(Rule::CodeDeserialize),
            "native" => Self::Other(Rule::CodeNative),
            "import" => Self::Other(Rule::CodeImports),
            _ => return None,
        })
    }

    fn exec(given: String, resolved: String, rule: Rule) -> Self {
        let name = resolved.rsplit('/').next().unwrap_or_default();
        let loader = ["ld-linux", "ld-musl", "ld.so", "ld64.so"].iter().any(|start| name.starts_with(start));
        let linkage = match rule {
            _ if loader => Linkage::Loader,
            Rule::ProcessUncovered => Linkage::Static,
            _ => Linkage::Dynamic,
        };
        Self::Exec { origin: origin(&resolved), given, resolved, linkage }
    }

    /// `host:port`, `address:port` or `[address]:port`.
    fn connect(subject: &str, transport: Transport) -> Option<Self> {
        if let Ok(address) = subject.parse::<SocketAddr>() {
            let (address, port) = (Some(address.ip().to_canonical()), address.port());
            return Some(Self::Connect { name: None, address, port, transport, runtime_api: false });
        }
        let (name, port) = subject.rsplit_once(':')?;
        let (name, port) = (Some(host(name)?), port.parse().ok()?);
        Some(Self::Connect { name, address: None, port, transport, runtime_api: false })
    }
}

/// A host name, lower case and without the final dot.
fn host(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_name = !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte));
    is_name.then_some(text)
}

fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(80).collect()
}

fn origin(path: &str) -> Origin {
    match path {
        _ if path.starts_with("/memfd:") => Origin::Memory,
        _ if path.ends_with(" (deleted)") => Origin::Deleted,
        _ if is_in_writable_place(path.as_bytes()) => Origin::Writable,
        _ => Origin::ReadOnly,
    }
}

/// The text, if it is whole: records cut what is long, and mask secrets and what is not text.
pub(crate) fn whole(text: &str) -> Option<&str> {
    let is_whole = !text.is_empty()
        && !text.contains("[redacted]")
        && !text.contains(['…', '\u{fffd}'])
        && !text.chars().any(char::is_control);
    is_whole.then_some(text)
}

impl Deed {
    /// What a record tells of; nothing where it is no violation, or where the record does not hold all of it.
    pub(crate) fn of_record(body: &Body) -> Vec<Self> {
        let (phase, role) = (phase(&body.invocation.phase), role(body));
        let all = match body.kind.as_str() {
            "violation" => violation(body).into_iter().collect(),
            "residue" => {
                let left = body.entries.iter().filter(|entry| entry.change != "deleted");
                left.filter_map(|entry| Some(What::Residue { path: whole(&entry.path)?.to_owned() }))
                    .collect()
            }
            _ => Vec::new(),
        };
        all.into_iter().map(|what: What| Self { what, phase, role }).collect()
    }

    /// What each rule of `policy` says of it. The strictest is what happens, and among equals the first.
    pub(crate) fn opinions(&self, policy: &Policy) -> Vec<Verdict> {
        let context =
            Context { phase: self.phase, role: self.role, strongest: Plane::Process, launched: true };
        let ask = |action: &Action<'_>| policy.opinions(action, &context);
        match &self.what {
            What::Exec { given, resolved, origin, linkage } => {
                let (given, resolved) = (given.as_bytes(), resolved.as_bytes());
                let (origin, linkage) = (*origin, *linkage);
                ask(&Action::Exec(Exec { given, resolved, origin, linkage, by_listed_script: false }))
            }
            What::Map { path, origin } => {
                ask(&Action::MapExecutable { path: path.as_bytes(), origin: *origin })
            }
            What::Connect { name, address, port, transport, runtime_api } => {
                let looked_up = name.as_ref().map(|name| ask(&Action::Resolve { name: name.as_bytes() }));
                let names = name.as_ref().map(|name| policy.patterns_of(name)).unwrap_or_default();
                let connected = ask(&Action::Connect(Destination {
                    address: address.unwrap_or(SOME_ADDRESS),
                    port: *port,
                    transport: *transport,
                    names: &names,
                    runtime_api: *runtime_api,
                    own_service: false,
                    second_connection: *runtime_api,
                }));
                looked_up.into_iter().flatten().chain(connected).collect()
            }
            What::Resolve { name } => ask(&Action::Resolve { name: name.as_bytes() }),
            What::Bind { address } => {
                ask(&Action::Bind { address: address.ip().to_canonical(), port: address.port() })
            }
            What::Read { path } => ask(&Action::OpenRead { path: path.as_bytes() }),
            What::Write { path } => ask(&Action::OpenWrite { path: path.as_bytes() }),
            What::Credential { variable, package } => {
                let by_sdk = policy.exempts_read(variable, package.as_deref());
                ask(&Action::ReadCredential { variable: variable.as_bytes(), by_sdk })
            }
            What::Inherit { variable } => ask(&Action::InheritCredentials { variable: variable.as_bytes() }),
            What::Dangerous { call } => ask(&Action::Dangerous { call }),
            What::Residue { path } if policy.keeps(path) => Vec::new(),
            What::Residue { .. } => policy.opinion_on(Rule::TmpResidue).into_iter().collect(),
            What::Other(rule) => policy.opinion_on(*rule).into_iter().collect(),
        }
    }

    /// What happens under `policy`.
    pub(crate) fn verdict(&self, policy: &Policy) -> Verdict {
        let opinions = self.opinions(policy);
        let with = |decision| opinions.iter().find(|opinion| opinion.decision == decision).copied();
        with(Decision::Deny)
            .or_else(|| with(Decision::Report))
            .or_else(|| with(Decision::Allow))
            .unwrap_or(Verdict { decision: Decision::Allow, rule: Rule::None })
    }

    /// The line of policy that would have `rule` allow this; nothing where no line does that alone.
    pub(crate) fn line(&self, rule: Rule) -> Option<PolicyLine> {
        let line = |section: &str, key: &str, value: String| {
            Some(PolicyLine { section: section.to_owned(), key: key.to_owned(), value })
        };
        match (rule, &self.what) {
            (Rule::ProcessAllow | Rule::ProcessUncovered, What::Exec { resolved, .. })
                if self.role == Role::Child =>
            {
                line("process", "allow", resolved.clone())
            }
            (Rule::EgressAllow | Rule::EgressNames, What::Connect { name, address, port, .. }) => {
                let host = match (name, address) {
                    (Some(name), _) => name.clone(),
                    (None, Some(IpAddr::V6(address))) => format!("[{address}]"),
                    (None, Some(address)) => address.to_string(),
                    (None, None) => return None,
                };
                line("egress", "allow", format!("{host}:{port}"))
            }
            (Rule::EgressNames, What::Resolve { name }) => line("egress", "allow", name.clone()),
            (Rule::EgressListen, What::Bind { address }) => {
                let value = if address.ip().is_loopback() { "loopback" } else { "allow" };
                line("egress", "listen", value.to_owned())
            }
            (Rule::TmpWrites, What::Write { path }) => line("tmp", "writes", path.clone()),
            (Rule::TmpResidue, What::Residue { path }) => line("tmp", "keep", path.clone()),
            (Rule::CredentialsReads, What::Credential { package: Some(package), .. }) => {
                line("credentials", "reads_allow_packages", package.clone())
            }
            (Rule::CredentialsReads, What::Credential { variable, .. })
                if CREDENTIAL_VARIABLES.contains(&variable.as_str()) =>
            {
                line("credentials", "reads_allow_variables", variable.clone())
            }
            _ => None,
        }
    }
}

fn violation(body: &Body) -> Option<What> {
    let subject = &body.subject;
    let (path, name) = (whole(&subject.path), whole(&subject.name));
    let rule = Rule::ALL.into_iter().find(|rule| rule.as_str() == body.rule).unwrap_or(Rule::None);
    Some(match body.action.as_str() {
        "exec" => {
            let given = path?.to_owned();
            // The line of policy names the file that the name leads to.
            let line =
                body.policy_line.as_ref().filter(|line| line.section == "process" && line.key == "allow");
            let resolved = line.and_then(|line| whole(&line.value)).unwrap_or(&given).to_owned();
            What::exec(given, resolved, rule)
        }
        "map_executable" => What::Map { path: path?.to_owned(), origin: origin(path?) },
        "connect" | "send" => {
            let address: SocketAddr = subject.address.parse().ok()?;
            What::Connect {
                name: name.and_then(host),
                address: Some(address.ip().to_canonical()),
                port: address.port(),
                transport: if body.action == "send" { Transport::Datagram } else { Transport::Stream },
                runtime_api: rule == Rule::EgressRuntimeApi,
            }
        }
        "resolve" => What::Resolve { name: host(name?)? },
        "bind" => What::Bind { address: subject.address.parse().ok()? },
        "open_read" => What::Read { path: path?.to_owned() },
        "open_write" => What::Write { path: path?.to_owned() },
        "read_credential" => What::Credential {
            variable: name.unwrap_or_default().to_owned(),
            package: body.detail.rsplit_once("by the package ").map(|(_, package)| package.to_owned()),
        },
        "inherit_credentials" => What::Inherit { variable: name.unwrap_or_default().to_owned() },
        "dangerous_call" => What::Dangerous { call: name.unwrap_or_default().to_owned() },
        "survive" => What::Other(Rule::ProcessSurvivors),
        "evaluate" => What::Other(Rule::CodeEvaluate),
        "deserialize" => What::Other(Rule::CodeDeserialize),
        "native" => What::Other(Rule::CodeNative),
        "import" => What::Other(Rule::CodeImports),
        _ => return None,
    })
}

/// The phase of a word; while an invocation runs, the strictest, where it is none.
pub(crate) fn phase(word: &str) -> Phase {
    match word {
        "init" => Phase::Init,
        "between" => Phase::Between,
        "shutdown" => Phase::Shutdown,
        _ => Phase::Invoke,
    }
}

/// The word for a process, as policies write it.
pub(crate) const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Runtime => "runtime",
        Role::Child => "child",
    }
}

/// The word for a phase, as policies and records write it.
pub(crate) const fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Init => "init",
        Phase::Invoke => "invoke",
        Phase::Between => "between",
        Phase::Shutdown => "shutdown",
    }
}

/// The process that a record names: what executes a program is a child or about to be one.
fn role(body: &Body) -> Role {
    let is_child = body.action == "exec" || body.actor.chain.contains(" > ");
    if is_child { Role::Child } else { Role::Runtime }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec { resolved, .. } => write!(f, "exec {resolved}"),
            Self::Map { path, .. } => write!(f, "map-executable {path}"),
            Self::Connect { name, address, port, transport, .. } => {
                let word = if *transport == Transport::Datagram { "send" } else { "connect" };
                match (name, address) {
                    (Some(name), _) => write!(f, "{word} {name}:{port}"),
                    (None, address) => {
                        write!(f, "{word} {}", SocketAddr::new(address.unwrap_or(SOME_ADDRESS), *port))
                    }
                }
            }
            Self::Resolve { name } => write!(f, "resolve {name}"),
            Self::Bind { address } => write!(f, "bind {address}"),
            Self::Read { path } => write!(f, "open-read {path}"),
            Self::Write { path } => write!(f, "open-write {path}"),
            Self::Credential { variable, package: None } => write!(f, "read-credential {variable}"),
            Self::Credential { package: Some(package), .. } => {
                write!(f, "read-credential, all by the package {package}")
            }
            Self::Inherit { variable } => write!(f, "inherit-credentials {variable}"),
            Self::Dangerous { call } => write!(f, "dangerous-call {call}"),
            Self::Residue { path } => write!(f, "residue {path}"),
            Self::Other(Rule::ProcessSurvivors) => f.write_str("survive"),
            Self::Other(Rule::CodeEvaluate) => f.write_str("evaluate"),
            Self::Other(Rule::CodeDeserialize) => f.write_str("deserialize"),
            Self::Other(Rule::CodeNative) => f.write_str("native"),
            Self::Other(rule) => {
                f.write_str(if *rule == Rule::CodeImports { "import" } else { rule.as_str() })
            }
        }
    }
}

#[cfg(test)]
mod tests;
