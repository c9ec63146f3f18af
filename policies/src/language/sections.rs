//! The sections of the language: every key, declared once, with its type, its rule and what it means.
//!
//! Nothing is decided here; the doc comments are what editors show (by way of the JSON Schema). The policy is made of
//! these sections, the verdict and the compiler read them.

use super::amounts::{ByteSize, Threshold};
use super::diagnostic::Findings;
use super::endpoint::Endpoint;
use super::patterns::{PackageName, PathGlob, SyscallName, VariableGlob, VariableName};
use super::section::{nested, section};
use super::value::{Count, Denied, Node, Strength, Value, print_string, words, wrong};

words! {
    /// What becomes of violations.
    Mode {
        /// They happen, and nothing is recorded.
        Off = "off", Nothing;
        /// They happen and are recorded.
        Observe = "observe", Reports;
        /// They do not happen, and are recorded.
        Enforce = "enforce", Enforces;
    }
}

words! {
    /// What is done about one kind of action.
    Restriction {
        /// Nothing.
        Allow = "allow", Nothing;
        /// It is recorded.
        Report = "report", Reports;
        /// It is recorded and does not happen.
        Deny = "deny", Enforces;
    }
}

words! {
    /// What is done about processes that outlive their invocation.
    Survivors {
        /// Nothing.
        Allow = "allow", Nothing;
        /// They are recorded.
        Report = "report", Reports;
        /// They are recorded and killed.
        Kill = "kill", Enforces;
    }
}

words! {
    /// Which local addresses may be bound.
    Listen {
        /// Any.
        Allow = "allow", Nothing;
        /// Loopback only.
        Loopback = "loopback", Enforces;
        /// None.
        Deny = "deny", Enforces;
    }
}

words! {
    /// The processes that may talk to the Runtime, Extensions and Telemetry APIs.
    RuntimeApi {
        /// The runtime alone, over one connection while an invocation runs.
        Runtime = "runtime", Enforces;
        /// Every process.
        Any = "any", Nothing;
    }
}

words! {
    /// What is believed about the name of a destination.
    Names {
        /// The answer of the guarded resolver.
        Dns = "dns", Nothing;
        /// Also the name in the TLS `ClientHello` or the HTTP Host header.
        Sni = "sni", Enforces;
    }
}

words! {
    /// What is done about files that an invocation leaves in /tmp.
    Residue {
        /// Nothing.
        Allow = "allow", Nothing;
        /// They are recorded.
        Report = "report", Reports;
        /// They are recorded and removed.
        Wipe = "wipe", Enforces;
    }
}

words! {
    /// What is done about key material in what is left behind.
    Secrets {
        /// Nothing.
        Allow = "allow", Nothing;
        /// It is recorded.
        Report = "report", Reports;
    }
}

words! {
    /// Where the role's credentials are to be had.
    Expose {
        /// In the environment of every process.
        Environment = "environment", Nothing;
        /// In the environment of the runtime; children have none.
        Runtime = "runtime", Enforces;
        /// From a broker; no process has them in its environment.
        Broker = "broker", Enforces;
    }
}

words! {
    /// A variable in which Lambda hands out the role's credentials.
    CredentialVariable {
        /// The id of the access key.
        AccessKeyId = "AWS_ACCESS_KEY_ID", Nothing;
        /// The secret of the access key.
        SecretAccessKey = "AWS_SECRET_ACCESS_KEY", Nothing;
        /// The session token, which the secrets extension also takes as its caller's proof.
        SessionToken = "AWS_SESSION_TOKEN", Nothing;
        /// The token for the endpoint that hands out credentials (`SnapStart`).
        ContainerToken = "AWS_CONTAINER_AUTHORIZATION_TOKEN", Nothing;
    }
}

words! {
    /// When files are checked against the signed manifest.
    Verify {
        /// Never.
        Never = "never", Nothing;
        /// While the environment starts.
        Init = "init", Enforces;
    }
}

words! {
    /// How records are written.
    Format {
        /// The format of Ringfence.
        Ringfence = "ringfence", Nothing;
        /// The Open Cybersecurity Schema Framework.
        Ocsf = "ocsf", Enforces;
    }
}

words! {
    /// Whether deeds that are reported and go ahead are told once.
    Activity {
        /// Each once when it is new and once when it is done again, several in a line.
        New = "new", Nothing;
        /// As violations, with each request.
        Off = "off", Nothing;
    }
}

words! {
    /// The base of the children's system-call profile.
    Profile {
        /// What attacks need and programs do not.
        Baseline = "baseline", Enforces;
        /// What converters and other small tools need, and no more.
        Strict = "strict", Enforces;
    }
}

section! {
    /// `[process]`: what children may be and do.
    Process = "process" {
        /// Mode of this section; without it the policy's mode.
        mode: Mode, rule = None, narrowed = true;
        /// Globs of the programs that children may be, by resolved path. Empty: no child processes.
        allow: Vec<PathGlob>, rule = ProcessAllow, narrowed = true;
        /// Shells, even where `allow` covers them.
        shells: Restriction, rule = ProcessShells, narrowed = true;
        /// Executing, or mapping executable, files from /tmp, from memory, deleted ones, or new ones.
        from_writable: Restriction, rule = ProcessFromWritable, narrowed = true;
        /// Processes that outlive their invocation.
        survivors: Survivors, rule = ProcessSurvivors, narrowed = false;
        /// What children find in their environment.
        environment: Environment, rule = ProcessEnvironment, narrowed = false;
        /// System calls that children may make.
        syscalls: Syscalls, rule = ProcessSyscalls, narrowed = false;
        /// Resources that children may use.
        limits: ProcessLimits, rule = ProcessLimits, narrowed = false;
    }
}

section! {
    /// `process.environment`.
    Environment = "process.environment" {
        /// Globs of variables that children do not inherit.
        strip: Denied<VariableGlob>, rule = None, narrowed = false;
    }
}
nested!(Environment);

section! {
    /// `process.limits`: setrlimit(2) for children.
    ProcessLimits = "process.limits" {
        /// Processes and threads of the environment at one time.
        processes: Count, rule = None, narrowed = false;
        /// Address space of one process.
        memory: ByteSize, rule = None, narrowed = false;
        /// CPU time of one process in seconds.
        cpu_seconds: Count, rule = None, narrowed = false;
        /// Open file descriptors of one process.
        open_files: Count, rule = None, narrowed = false;
        /// Size of any one file that is written.
        file_size: ByteSize, rule = None, narrowed = false;
    }
}
nested!(ProcessLimits);

section! {
    /// The long form of `process.syscalls`.
    SyscallTable = "process.syscalls" {
        /// The profile that it starts from.
        extends: Profile, rule = None, narrowed = false;
        /// System calls that are denied beyond the profile.
        deny: Denied<SyscallName>, rule = None, narrowed = false;
    }
}
nested!(SyscallTable);

/// `process.syscalls`: a profile, and what is denied beyond it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syscalls {
    /// The profile that it starts from.
    pub extends: Profile,
    /// System calls that are denied beyond the profile.
    pub deny: Vec<SyscallName>,
}

impl Value for Syscalls {
    fn read(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        if !node.get_ref().is_table() {
            return Profile::read(node, findings).map(|extends| Self { extends, deny: Vec::new() });
        }
        let table = <SyscallTable as Value>::read(node, findings)?;
        let Some(extends) = table.extends else {
            let hint = "write { extends = \"strict\", deny = [\"…\"] }".to_owned();
            findings.error(
                node.span(),
                "a profile without `extends`".into(),
                "expected `extends` here".into(),
                hint,
            );
            return None;
        };
        Some(Self { extends, deny: table.deny.map_or_else(Vec::new, |deny| deny.0) })
    }

    fn print(&self, out: &mut String) {
        if self.deny.is_empty() {
            return print_string(self.extends.as_str(), out);
        }
        let table = SyscallTable { extends: Some(self.extends), deny: Some(Denied(self.deny.clone())) };
        Value::print(&table, out);
    }

    fn schema() -> String {
        format!("{{\"anyOf\": [{}, {}]}}", Profile::schema(), <SyscallTable as Value>::schema())
    }
}

section! {
    /// `[egress]`: where packets may go.
    Egress = "egress" {
        /// Mode of this section; without it the policy's mode.
        mode: Mode, rule = None, narrowed = true;
        /// Hosts, `*.suffixes`, addresses and networks, each with an optional port. Empty: nothing but loopback.
        allow: Vec<Endpoint>, rule = EgressAllow, narrowed = true;
        /// Wins over `allow`.
        deny: Denied<Endpoint>, rule = EgressDeny, narrowed = true;
        /// Whether names are believed from DNS alone, or checked in the traffic too.
        names: Names, rule = EgressNames, narrowed = false;
        /// Which local addresses may be bound.
        listen: Listen, rule = EgressListen, narrowed = true;
        /// The processes that may talk to the Runtime, Extensions and Telemetry APIs. Without it: "runtime".
        runtime_api: RuntimeApi, rule = EgressRuntimeApi, narrowed = true;
    }
}

section! {
    /// `[tmp]`: what may be written to /tmp and stay there.
    Tmp = "tmp" {
        /// Mode of this section; without it the policy's mode.
        mode: Mode, rule = None, narrowed = true;
        /// Files that an invocation leaves behind.
        residue: Residue, rule = TmpResidue, narrowed = false;
        /// Globs of files that may stay.
        keep: Vec<PathGlob>, rule = None, narrowed = false;
        /// Which files under /tmp may be written: all, none, or a list of globs.
        writes: Writes, rule = TmpWrites, narrowed = true;
        /// How much may be in /tmp.
        max: TmpMax, rule = TmpMax, narrowed = false;
        /// Key material in what is left behind.
        secrets: Secrets, rule = TmpSecrets, narrowed = false;
    }
}

section! {
    /// `tmp.max`.
    TmpMax = "tmp.max" {
        /// Bytes in all files together.
        bytes: ByteSize, rule = None, narrowed = false;
        /// Number of files.
        files: Count, rule = None, narrowed = false;
    }
}
nested!(TmpMax);

/// `tmp.writes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writes {
    /// Every file under /tmp may be written.
    Allow,
    /// None may.
    Deny,
    /// Those that match may.
    Only(Vec<PathGlob>),
}

impl Value for Writes {
    fn read(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        match node.get_ref().as_str() {
            Some("allow") => Some(Self::Allow),
            Some("deny") => Some(Self::Deny),
            None if node.get_ref().is_array() => Vec::read(node, findings).map(Self::Only),
            _ => {
                let hint = "write writes = [\"/tmp/cache/**\"] to allow some files";
                wrong(node, findings, "\"allow\", \"deny\" or a list of globs", hint);
                None
            }
        }
    }

    fn print(&self, out: &mut String) {
        match self {
            Self::Allow => print_string("allow", out),
            Self::Deny => print_string("deny", out),
            Self::Only(globs) => globs.print(out),
        }
    }

    fn schema() -> String {
        format!("{{\"anyOf\": [{{\"enum\": [\"allow\", \"deny\"]}}, {}]}}", Vec::<PathGlob>::schema())
    }

    fn strength(&self) -> Strength {
        if *self == Self::Allow { Strength::Nothing } else { Strength::Enforces }
    }
}

section! {
    /// `[files]`: what may not be opened.
    Files = "files" {
        /// Mode of this section; without it the policy's mode.
        mode: Mode, rule = None, narrowed = true;
        /// Globs of files that are not read after init.
        deny_read: Denied<PathGlob>, rule = FilesDenyRead, narrowed = true;
        /// Globs of files that are not written, created, renamed over or removed.
        deny_write: Denied<PathGlob>, rule = FilesDenyWrite, narrowed = true;
    }
}

section! {
    /// `[credentials]`: which code sees the role's credentials.
    Credentials = "credentials" {
        /// Mode of this section; without it the policy's mode.
        mode: Mode, rule = None, narrowed = true;
        /// Where the role's credentials are to be had.
        expose: Expose, rule = CredentialsExpose, narrowed = false;
        /// Reads of credential variables from outside the AWS SDKs.
        reads: Restriction, rule = CredentialsReads, narrowed = true;
        /// Credential variables that any code may read: the session token for callers of the secrets extension.
        reads_allow_variables: Vec<CredentialVariable>, rule = None, narrowed = false;
        /// Packages that may read all of them: a Python package, an npm package, a Java package with its parts.
        reads_allow_packages: Vec<PackageName>, rule = None, narrowed = false;
        /// Names of variables that hold planted values, whose use anywhere is a violation.
        decoys: Denied<VariableName>, rule = CredentialsDecoys, narrowed = false;
    }
}

section! {
    /// `[code]`: what the function's code does with data and with what lies below its language. Judged by the hooks.
    Code = "code" {
        /// Mode of this section; without it the policy's mode.
        mode: Mode, rule = None, narrowed = false;
        /// Evaluating text that came with the event as code.
        evaluate: Restriction, rule = CodeEvaluate, narrowed = false;
        /// Restoring objects whose classes the event names, or that run programs or code.
        deserialize: Restriction, rule = CodeDeserialize, narrowed = false;
        /// Going below the language during an invocation: ctypes, native add-ons, bindings, the debugger.
        native: Restriction, rule = CodeNative, narrowed = false;
        /// Loading modules from /tmp and other places that the function can write.
        imports: Restriction, rule = CodeImports, narrowed = false;
    }
}

section! {
    /// `[hooks]`: which language hooks are loaded.
    Hooks = "hooks" {
        /// The Python hook. Without the key: true.
        python: bool, rule = None, narrowed = false;
        /// The Node hook. Without the key: true.
        node: bool, rule = None, narrowed = false;
        /// The Java hook. Without the key: true.
        java: bool, rule = None, narrowed = false;
    }
}

section! {
    /// `[integrity]`: whether the code is what was deployed.
    Integrity = "integrity" {
        /// Mode of this section; without it the policy's mode.
        mode: Mode, rule = None, narrowed = false;
        /// When /var/task and /opt are checked against the signed manifest.
        verify: Verify, rule = IntegrityVerify, narrowed = false;
    }
}

section! {
    /// `[anomaly]`: invocations unlike the ones before.
    Anomaly = "anomaly" {
        /// Mode of this section; without it the policy's mode.
        mode: Mode, rule = None, narrowed = false;
        /// Duration from which an invocation is reported: "p99 * 3".
        duration: Threshold, rule = AnomalyDuration, narrowed = false;
        /// Memory from which an invocation is reported: "p99 * 1.5".
        memory: Threshold, rule = AnomalyMemory, narrowed = false;
    }
}

section! {
    /// `[report]`: how violations are told.
    Report = "report" {
        /// Format of the records.
        format: Format, rule = ReportFormat, narrowed = false;
        /// Whether counters are written as CloudWatch embedded metrics.
        metrics: bool, rule = ReportMetrics, narrowed = false;
        /// How deeds that are reported and go ahead are told: once in an environment, or with each request.
        activity: Activity, rule = None, narrowed = false;
        /// Where records are also posted.
        webhook: Webhook, rule = ReportWebhook, narrowed = false;
    }
}

/// `report.webhook`: an https URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook(String);

impl Webhook {
    /// The URL as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for Webhook {
    fn read(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        let fits = |url: &&str| {
            let host = url.strip_prefix("https://").and_then(|rest| rest.split(['/', '?']).next());
            host.is_some_and(|host| !host.is_empty() && !host.contains('@'))
                && url.len() <= 2048
                && !url.contains(|character: char| character.is_whitespace() || character.is_control())
        };
        let url = node.get_ref().as_str().filter(fits);
        if url.is_none() {
            let hint = "write \"https://host/path\"; credentials do not belong in a policy";
            wrong(node, findings, "an https URL", hint);
        }
        url.map(|url| Self(url.to_owned()))
    }

    fn print(&self, out: &mut String) {
        print_string(&self.0, out);
    }

    fn schema() -> String {
        "{\"type\": \"string\", \"pattern\": \"^https://\"}".to_owned()
    }
}
