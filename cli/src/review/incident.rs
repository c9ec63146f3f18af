//! Incidents: the violations of one request as one story, and stories that are alike as one incident.
//!
//! It folds and ranks. It holds one open story for each environment and a bounded number of incidents, so a log of any
//! length fits. It must not know how an incident is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::record::{Body, Record};

/// Most incidents that are told apart, and most environments whose story is open at one time.
const MAX_INCIDENTS: usize = 5_000;
const MAX_OPEN: usize = 10_000;
/// Most steps of one story that are kept, and most requests that an incident names.
const MAX_STEPS: usize = 200;
const MAX_REQUESTS: usize = 10;
/// Most policies that are told apart.
const MAX_POLICIES: usize = 1_000;

/// How bad something is; the words of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    pub(super) const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Medium, Self::Low];

    fn of(word: &str) -> Self {
        match word {
            "critical" => Self::Critical,
            "high" => Self::High,
            "medium" => Self::Medium,
            _ => Self::Low,
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) timestamp: String,
    /// What was done, in words: `python3.13 tried to start /bin/sh`.
    pub(super) sentence: String,
    pub(super) verdict: String,
    pub(super) rule: String,
    pub(super) plane: String,
    pub(super) severity: Severity,
    /// The line of code that acted, if it is known.
    pub(super) code: String,
    /// Processes from the runtime down.
    pub(super) chain: Vec<String>,
    pub(super) count: u64,
    /// Where it connected or looked up.
    pub(super) destination: Option<String>,
    pub(super) attack: Vec<String>,
    pub(super) detail: String,
    /// What is the same when the same thing happens again.
    shape: u64,
}

impl Step {
    fn new(record: &Record) -> Self {
        let body = &record.ringfence;
        let chain: Vec<String> =
            body.actor.chain.split(" > ").filter(|name| !name.is_empty()).map(str::to_owned).collect();
        // What was left behind was left by no process that is known.
        let is_of_none = body.kind == "residue" || body.actor.pid == 0;
        let chain = if chain.is_empty() && !is_of_none { vec![process(body)] } else { chain };
        let mut hash = DefaultHasher::new();
        (&body.rule, &body.action, &body.verdict, &body.actor.code, &chain).hash(&mut hash);
        thing(body).hash(&mut hash);
        Self {
            timestamp: record.timestamp.clone(),
            sentence: sentence(body),
            verdict: body.verdict.clone(),
            rule: body.rule.clone(),
            plane: body.plane.clone(),
            severity: Severity::of(&body.severity),
            code: body.actor.code.clone(),
            chain,
            // Of what was left it is the number of files, which is no number of times.
            count: if body.kind == "residue" { 1 } else { body.times() },
            destination: destination(body),
            attack: body.attack.clone(),
            detail: body.detail.clone(),
            shape: hash.finish(),
        }
    }
}

/// The story of one request, or of one part of an environment's life without a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Story {
    pub(super) function: String,
    pub(super) version: String,
    pub(super) policy: String,
    pub(super) environment: String,
    /// Empty outside of invocations.
    pub(super) request: String,
    pub(super) phase: String,
    pub(super) steps: Vec<Step>,
    /// Steps for which there was no room.
    pub(super) more: u64,
}

impl Story {
    fn new(record: &Record) -> Self {
        let body = &record.ringfence;
        Self {
            function: body.function.name.clone(),
            version: body.function.version.clone(),
            policy: body.policy.clone(),
            environment: body.key.clone(),
            request: body.invocation.request_id.clone(),
            phase: body.invocation.phase.clone(),
            steps: Vec::new(),
            more: 0,
        }
    }

    fn has(&self, body: &Body) -> bool {
        let same_request = self.request == body.invocation.request_id;
        same_request && (!self.request.is_empty() || self.phase == body.invocation.phase)
    }

    fn add(&mut self, step: Step) {
        if let Some(known) = self.steps.iter_mut().find(|known| known.shape == step.shape) {
            known.count = known.count.saturating_add(step.count);
        } else if self.steps.len() < MAX_STEPS {
            self.steps.push(step);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn severity(&self) -> Severity {
        self.steps.iter().map(|step| step.severity).max().unwrap_or(Severity::Low)
    }

    /// The step that says most: the first of the worst.
    pub(super) fn worst(&self) -> Option<&Step> {
        let severity = self.severity();
        self.steps.iter().find(|step| step.severity == severity)
    }

    /// What is the same in stories that are alike.
    fn shape(&self) -> u64 {
        let steps: BTreeSet<u64> = self.steps.iter().map(|step| step.shape).collect();
        let mut hash = DefaultHasher::new();
        (&self.function, self.request.is_empty(), steps).hash(&mut hash);
        hash.finish()
    }
}

/// Stories that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Incident {
    /// Names it in `--incident`: eight hexadecimal digits.
    pub(super) id: String,
    /// The first of the stories.
    pub(super) story: Story,
    pub(super) count: u64,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) requests: Vec<String>,
    pub(super) versions: BTreeSet<String>,
    /// Policies under which it was seen.
    policies: BTreeSet<String>,
}

/// All incidents of a log.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    open: BTreeMap<String, Story>,
    known: BTreeMap<u64, Incident>,
    /// Stories for which there was no room.
    pub(super) dropped: u64,
    /// Records that could not be read.
    pub(super) unread: u64,
    /// For each function its policies in the order in which they were first seen.
    policies: BTreeMap<String, Vec<String>>,
    /// What is degraded, with how often.
    pub(super) degraded: BTreeMap<String, u64>,
    pub(super) records: u64,
}

impl Incidents {
    /// Takes one record, as the agent wrote it.
    pub(super) fn take(&mut self, text: &str) {
        let Ok(record) = serde_json::from_str::<Record>(text) else {
            self.unread += 1;
            return;
        };
        self.records += 1;
        let body = &record.ringfence;
        if body.kind == "degraded" && self.degraded.len() < MAX_INCIDENTS {
            let line = format!("{}: {}: {}", body.function.name, body.part, body.detail);
            *self.degraded.entry(line).or_default() += body.times();
        }
        self.note_policy(body);
        if body.kind == "protection" || body.kind == "summary" {
            self.close(&body.key);
        }
        if body.kind != "violation" && body.kind != "residue" {
            return;
        }
        if self.open.get(&body.key).is_some_and(|story| !story.has(body)) {
            self.close(&body.key);
        }
        if !self.open.contains_key(&body.key) && self.open.len() >= MAX_OPEN {
            self.dropped += 1;
            return;
        }
        let story = self.open.entry(body.key.clone()).or_insert_with(|| Story::new(&record));
        story.add(Step::new(&record));
    }

    fn note_policy(&mut self, body: &Body) {
        if body.policy.is_empty()
            || (self.policies.len() >= MAX_POLICIES && !self.policies.contains_key(&body.function.name))
        {
            return;
        }
        let policies = self.policies.entry(body.function.name.clone()).or_default();
        if !policies.contains(&body.policy) && policies.len() < MAX_POLICIES {
            policies.push(body.policy.clone());
        }
    }

    fn close(&mut self, environment: &str) {
        let Some(mut story) = self.open.remove(environment) else { return };
        story.steps.sort_by(|left, right| left.timestamp.cmp(&right.timestamp));
        let shape = story.shape();
        if !self.known.contains_key(&shape) && self.known.len() >= MAX_INCIDENTS {
            self.dropped += 1;
            return;
        }
        let start = story.steps.first().map(|step| step.timestamp.clone()).unwrap_or_default();
        let end = story.steps.last().map(|step| step.timestamp.clone()).unwrap_or_default();
        let incident = self.known.entry(shape).or_insert_with(|| Incident {
            id: format!("{:08x}", shape >> 32),
            story: story.clone(),
            count: 0,
            first: start.clone(),
            last: end.clone(),
            requests: Vec::new(),
            versions: BTreeSet::new(),
            policies: BTreeSet::new(),
        });
        incident.count += 1;
        if start < incident.first {
            incident.first = start;
        }
        if end > incident.last {
            incident.last = end;
        }
        if !story.request.is_empty() && incident.requests.len() < MAX_REQUESTS {
            incident.requests.push(story.request);
        }
        incident.versions.insert(story.version);
        incident.policies.insert(story.policy);
    }

    /// The incidents, the worst first, and among equals the rarest.
    pub(super) fn ranked(&mut self) -> Vec<Incident> {
        let open: Vec<String> = self.open.keys().cloned().collect();
        for environment in &open {
            self.close(environment);
        }
        let mut all: Vec<Incident> = self.known.values().cloned().collect();
        all.sort_by(|left, right| {
            let key = |incident: &Incident| (std::cmp::Reverse(incident.story.severity()), incident.count);
            key(left)
                .cmp(&key(right))
                .then_with(|| left.first.cmp(&right.first))
                .then_with(|| left.id.cmp(&right.id))
        });
        all
    }

    /// Whether an incident is seen under the function's latest policy alone, where the log has an older one.
    pub(super) fn is_new(&self, incident: &Incident) -> bool {
        let policies = self.policies.get(&incident.story.function).map_or(&[][..], Vec::as_slice);
        policies.len() > 1
            && policies.last().is_some_and(|last| incident.policies.iter().all(|policy| policy == last))
    }
}

/// The process that acted, by the name of its executable.
fn process(body: &Body) -> String {
    let name = body.actor.exe.rsplit('/').next().unwrap_or_default();
    if name.is_empty() { "a process".to_owned() } else { name.to_owned() }
}

/// What was acted on.
fn thing(body: &Body) -> &str {
    let subject = &body.subject;
    [&subject.path, &subject.name, &subject.address]
        .into_iter()
        .find(|text| !text.is_empty())
        .map_or("", String::as_str)
}

fn destination(body: &Body) -> Option<String> {
    let subject = &body.subject;
    match body.action.as_str() {
        "resolve" => Some(subject.name.clone()),
        "connect" | "send" => {
            let port = subject.address.rsplit(':').next().unwrap_or_default();
            Some(if subject.name.is_empty() {
                subject.address.clone()
            } else {
                format!("{}:{port}", subject.name)
            })
        }
        _ => None,
    }
    .filter(|text| !text.is_empty())
}

/// What was done, in words.
fn sentence(body: &Body) -> String {
    let stopped = body.verdict == "blocked";
    let tell = |did: &str, tried: &str| if stopped { format!("tried to {tried}") } else { did.to_owned() };
    let name = process(body);
    let subject = &body.subject;
    let what = thing(body);
    if body.kind == "residue" {
        let listed: Vec<&str> = body.entries.iter().take(3).map(|entry| entry.path.as_str()).collect();
        let more = if body.count > listed.len() as u64 { " and others" } else { "" };
        return format!("the invocation left {}{more} behind", listed.join(", "));
    }
    if body.rule == "egress.runtime_api" {
        return format!(
            "{name} {} the Runtime API at {}, which hands out events",
            tell("spoke to", "speak to"),
            subject.address
        );
    }
    match body.action.as_str() {
        "exec" => {
            let arguments = subject.argv.join(" ");
            let shown = if arguments.is_empty() { String::new() } else { format!(" (`{arguments}`)") };
            format!("{name} {} {what}{shown}", tell("started", "start"))
        }
        "map_executable" => format!("{name} {} {what} as code", tell("loaded", "load")),
        "connect" | "send" => {
            let to = destination(body).unwrap_or_default();
            let address =
                if subject.name.is_empty() { String::new() } else { format!(" ({})", subject.address) };
            let (did, tried) = if body.action == "send" {
                ("sent data to", "send data to")
            } else {
                ("connected to", "connect to")
            };
            format!("{name} {} {to}{address}", tell(did, tried))
        }
        "resolve" => format!("{name} {} {what}", tell("looked up the name", "look up the name")),
        "bind" => format!("{name} {} {what}", tell("listened on", "listen on")),
        "open_read" => format!("{name} {} {what}", tell("read", "read")),
        "open_write" => format!("{name} {} {what}", tell("wrote", "write")),
        "read_credential" if what.is_empty() => {
            format!("{name} {}", tell("read all variables, credentials among them", "read the credentials"))
        }
        "read_credential" => format!("{name} {} {what}", tell("read the credential", "read the credential")),
        "inherit_credentials" => {
            format!("{name} started a child that had the credentials in its environment")
        }
        "dangerous_call" => format!("{name} {} {what}", tell("made the call", "make the call")),
        "survive" => format!("{name} outlived its invocation"),
        "evaluate" => {
            format!("{name} {}", tell("ran text of the event as code", "run text of the event as code"))
        }
        "deserialize" => format!(
            "{name} {} {what}",
            tell("restored an object that runs code:", "restore an object that runs code:")
        ),
        "native" => format!("{name} {} {what}", tell("went below its language:", "go below its language:")),
        "import" => format!(
            "{name} {} {what}",
            tell("loaded a module from where it can write:", "load a module from where it can write:")
        ),
        other => format!("{name}: {other} {what}"),
    }
    .trim_end()
    .to_owned()
}

/// Why a rule is there: what a deed that it speaks of is good for.
pub(super) fn meaning(rule: &str) -> &'static str {
    match rule {
        "process.shells" => "A shell runs any command line: injected commands need one.",
        "process.allow" | "process.uncovered" => {
            "The policy lists the programs that children may be; this is none of them."
        }
        "process.from_writable" => "Code was to run that the function itself, or an event, had written.",
        "process.survivors" => "A process that outlives its invocation sees the next request.",
        "egress.allow" => "The policy lists the destinations; this is none of them. Data leaves this way.",
        "egress.deny" => "The policy denies this destination by name or address.",
        "egress.names" => "The look-up alone can carry data out, in the labels of the name.",
        "egress.listen" => "A listener waits for others to connect.",
        "egress.runtime_api" => {
            "Whoever asks the Runtime API for events gets the requests of others and can answer them."
        }
        "tmp.residue" => "What is left in /tmp meets the next request.",
        "tmp.writes" => "The policy lists the files that may be written in /tmp; this is none of them.",
        "files.deny_read" => {
            "The file holds what data should not reach, such as the environment with the credentials."
        }
        "files.deny_write" => "Writing there changes code or memory that is to stay as it is.",
        "credentials.reads" => {
            "Code outside of the AWS SDKs read the role's credentials: with them anyone acts as the function."
        }
        "credentials.expose" => "Children have no use for the role's credentials.",
        "code.evaluate" => "Text from the event became code.",
        "code.deserialize" => "Restoring the object runs code that the data names.",
        "code.native" => "Below the language no hook sees what is done.",
        "code.imports" => "The module lies where the function can write: an event may have put it there.",
        "self_protection" => "The call serves attacks on the protection itself or on other processes.",
        _ => "",
    }
}
