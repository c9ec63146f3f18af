//! Properties that hold for every policy: the two forms agree, text is faithful, denying more allows no more, and
//! garbage does no harm.
#![cfg(test)]

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{Date, Effect, Policy};
use crate::embedded::embedded;
use crate::vocabulary::is_in_writable_place;
use crate::{
    Action, CompiledPolicy, Context, Decision, Destination, Exec, Linkage, Origin, Phase, Plane, Role,
    Transport, Verdict,
};

const GLOBS: [&str; 12] = [
    "/usr/bin/convert",
    "/usr/bin/*",
    "/opt/**",
    "/tmp/**",
    "/tmp/cache/*",
    "/proc/*/environ",
    "/**",
    "/bin/sh",
    "/opt/bin/[a-c]?",
    "/**/lib/*.so",
    "/opt/tool",
    "/tmp/t\\\\*",
];
const PATHS: [&str; 15] = [
    "/usr/bin/convert",
    "/bin/sh",
    "/usr/bin/dash",
    "/opt/bin/ax",
    "/opt/tool",
    "/tmp/x",
    "/tmp/cache/a",
    "/tmp",
    "/proc/7/environ",
    "/opt/lib/a/lib/b.so",
    "/memfd:x (deleted)",
    "relative",
    "",
    "/opt/../bin/sh",
    "/tmp/t*",
];
const ENDPOINTS: [&str; 14] = [
    "api.example.com:443",
    "*.example.com",
    "*.internal:80-90",
    "10.0.0.0/8:5432",
    "169.254.169.254",
    "*:53",
    "*",
    "[2001:db8::]/32:443",
    "127.0.0.1:8080",
    "localhost",
    "example.com",
    "0.0.0.0/0",
    "[::]/0",
    "a.b.example.com:1-443",
];
const HOSTS: [&str; 10] = [
    "api.example.com",
    "API.Example.com.",
    "a.b.example.com",
    "example.com",
    ".example.com",
    "localhost",
    "x.internal",
    "evil.test",
    "4.3.2.10.in-addr.arpa",
    "",
];
const ADDRESSES: [&str; 15] = [
    "10.1.2.3",
    "11.0.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "0.0.0.0",
    "2001:db8::5",
    "2001:db9::5",
    "::1",
    "::",
    "::ffff:10.0.0.7",
    "64:ff9b::10.1.2.3",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1:a9fe:a9:fe00::",
    "2002:a01:203::1",
    "::10.1.2.3",
];
const PORTS: [u16; 8] = [0, 1, 53, 80, 90, 443, 5432, 65535];

fn list(entries: &'static [&'static str]) -> impl Strategy<Value = String> {
    subsequence(entries, 0..=3).prop_map(|chosen| {
        let quoted: Vec<String> = chosen.iter().map(|entry| format!("\"{entry}\"")).collect();
        format!("[{}]", quoted.join(", "))
    })
}

fn word(words: &'static [&'static str]) -> BoxedStrategy<String> {
    select(words).prop_map(|word| format!("\"{word}\"")).boxed()
}

fn value(values: &'static [&'static str]) -> BoxedStrategy<String> {
    select(values).prop_map(str::to_owned).boxed()
}

/// Keys that a `[[rule]]` may set, with their values.
fn narrowed_keys() -> Vec<(&'static str, BoxedStrategy<String>)> {
    let modes: &[&str] = &["off", "observe", "enforce"];
    let restrictions: &[&str] = &["allow", "report", "deny"];
    vec![
        ("process.mode", word(modes)),
        ("process.allow", list(&GLOBS).boxed()),
        ("process.shells", word(restrictions)),
        ("process.from_writable", word(restrictions)),
        ("egress.mode", word(modes)),
        ("egress.allow", list(&ENDPOINTS).boxed()),
        ("egress.deny", list(&ENDPOINTS).boxed()),
        ("egress.listen", word(&["allow", "loopback", "deny"])),
        ("egress.runtime_api", word(&["runtime", "any"])),
        ("tmp.mode", word(modes)),
        ("tmp.writes", prop_oneof![word(&["allow", "deny"]), list(&GLOBS)].boxed()),
        ("files.mode", word(modes)),
        ("files.deny_read", list(&GLOBS).boxed()),
        ("files.deny_write", list(&GLOBS).boxed()),
        ("credentials.mode", word(modes)),
        ("credentials.reads", word(restrictions)),
    ]
}

/// Keys that hold for the whole environment.
fn whole_keys() -> Vec<(&'static str, BoxedStrategy<String>)> {
    vec![
        ("mode", word(&["off", "observe", "enforce"])),
        ("on_degraded", word(&["continue", "refuse"])),
        ("enforce_after", value(&["2026-12-24", "1999-01-31"])),
        ("extends", value(&["\"web-api\"", "[\"baseline\", \"document-worker\"]"])),
        ("process.survivors", word(&["report", "kill", "allow"])),
        ("process.environment", value(&["{ strip = [\"AWS_*\", \"A?[BC]\"] }", "{}"])),
        ("process.syscalls", value(&["\"strict\"", "{ extends = \"baseline\", deny = [\"chmod\"] }"])),
        (
            "process.limits",
            value(&["{ processes = 3, memory = \"1MiB\" }", "{ file_size = 1536, cpu_seconds = 9 }"]),
        ),
        ("egress.names", word(&["dns", "sni"])),
        ("tmp.residue", word(&["report", "wipe", "allow"])),
        ("tmp.keep", list(&GLOBS).boxed()),
        ("tmp.max", value(&["{ bytes = \"64MiB\", files = 1000 }", "{ files = 1 }"])),
        ("tmp.secrets", word(&["report", "allow"])),
        ("credentials.expose", word(&["environment", "runtime", "broker"])),
        ("credentials.reads_allow_variables", value(&["[]", "[\"AWS_SESSION_TOKEN\"]"])),
        ("credentials.reads_allow_packages", value(&["[\"@acme/vault\", \"com.acme\"]"])),
        ("credentials.decoys", value(&["[]", "[\"STRIPE_SECRET_KEY\"]"])),
        ("code.mode", word(&["off", "observe", "enforce"])),
        ("code.evaluate", word(&["allow", "report", "deny"])),
        ("code.deserialize", word(&["allow", "report", "deny"])),
        ("code.native", word(&["allow", "report", "deny"])),
        ("code.imports", word(&["allow", "report", "deny"])),
        ("hooks.python", value(&["true", "false"])),
        ("hooks.node", value(&["true", "false"])),
        ("hooks.java", value(&["true", "false"])),
        ("integrity.verify", word(&["init", "never"])),
        ("anomaly.duration", value(&["\"p99 * 3\"", "\"p50*1.25\""])),
        ("anomaly.memory", value(&["\"p1 * 0.5\""])),
        ("report.format", word(&["ringfence", "ocsf"])),
        ("report.metrics", value(&["true", "false"])),
        ("report.activity", word(&["new", "off"])),
        ("report.webhook", value(&["\"https://hooks.example/x\""])),
    ]
}

/// Lines that set some of `keys`.
fn lines(keys: Vec<(&'static str, BoxedStrategy<String>)>) -> impl Strategy<Value = String> {
    let each: Vec<_> = keys
        .into_iter()
        .map(|(key, value)| {
            prop::option::weighted(0.4, value.prop_map(move |value| format!("{key} = {value}\n")))
        })
        .collect();
    each.prop_map(|chosen| chosen.into_iter().flatten().collect())
}

fn narrowed() -> impl Strategy<Value = String> {
    let when = select(vec![
        "{ phase = \"init\" }",
        "{ phase = \"invoke\", process = \"child\" }",
        "{ process = \"runtime\" }",
        "{ phase = \"between\" }",
        "{ phase = \"shutdown\", process = \"runtime\" }",
        "{ process = \"/usr/bin/*\" }",
    ]);
    (when, lines(narrowed_keys())).prop_map(|(when, lines)| format!("[[rule]]\nwhen = {when}\n{lines}"))
}

fn policy_text() -> impl Strategy<Value = String> {
    let rules = prop::collection::vec(narrowed(), 0..3);
    (lines(whole_keys()), lines(narrowed_keys()), rules)
        .prop_map(|(whole, base, rules)| format!("version = 1\n{whole}{base}{}", rules.concat()))
}

fn parse(text: &str) -> Policy {
    Policy::parse("policy.toml", text).unwrap_or_else(|findings| panic!("{findings}\n{text}")).policy
}

/// An action that owns what it refers to. Names are tied to addresses by each policy's own indices.
#[derive(Debug, Clone)]
enum Event {
    Exec {
        given: &'static str,
        resolved: &'static str,
        origin: Origin,
        linkage: Linkage,
        by_listed_script: bool,
    },
    Map {
        path: &'static str,
        origin: Origin,
    },
    Connect {
        address: IpAddr,
        port: u16,
        host: Option<&'static str>,
        flags: (bool, bool, bool),
    },
    Resolve(&'static str),
    Bind(IpAddr, u16),
    Read(&'static str),
    Write(&'static str),
    ReadCredential(bool),
    Inherit,
    Dangerous,
}

fn event() -> impl Strategy<Value = Event> {
    let origin = || select(vec![Origin::ReadOnly, Origin::Writable, Origin::Memory, Origin::Deleted]);
    let linkage = select(vec![
        Linkage::Dynamic,
        Linkage::Static,
        Linkage::Foreign,
        Linkage::Loader,
        Linkage::Script,
        Linkage::Unknown,
    ]);
    let address = || select(&ADDRESSES[..]).prop_map(|text| text.parse::<IpAddr>().unwrap());
    let path = || select(&PATHS[..]);
    let rare = || prop::bool::weighted(0.2);
    prop_oneof![
        4 => (path(), path(), origin(), linkage, rare()).prop_map(|(given, resolved, origin, linkage, by_listed_script)| {
            Event::Exec { given, resolved, origin, linkage, by_listed_script }
        }),
        1 => (path(), origin()).prop_map(|(path, origin)| Event::Map { path, origin }),
        4 => (address(), select(&PORTS[..]), prop::option::of(select(&HOSTS[..])), (rare(), rare(), any::<bool>()))
            .prop_map(|(address, port, host, flags)| Event::Connect { address, port, host, flags }),
        2 => select(&HOSTS[..]).prop_map(Event::Resolve),
        1 => (address(), select(&PORTS[..])).prop_map(|(address, port)| Event::Bind(address, port)),
        2 => path().prop_map(Event::Read),
        2 => path().prop_map(Event::Write),
        1 => any::<bool>().prop_map(Event::ReadCredential),
        1 => Just(Event::Inherit),
        1 => Just(Event::Dangerous),
    ]
}

fn context() -> impl Strategy<Value = Context> {
    let phase = select(vec![Phase::Init, Phase::Invoke, Phase::Between, Phase::Shutdown]);
    let role = select(vec![Role::Runtime, Role::Child]);
    let plane = select(vec![Plane::Kernel, Plane::Process]);
    (phase, role, plane, prop::bool::weighted(0.9)).prop_map(|(phase, role, strongest, launched)| Context {
        phase,
        role,
        strongest,
        launched,
    })
}

impl Event {
    /// Hands the action to `judge`, with the name indices that `indices` gives for a host.
    fn judged(&self, indices: impl Fn(&[u8]) -> Vec<u16>, judge: impl Fn(&Action<'_>) -> Verdict) -> Verdict {
        let names;
        let action = match self {
            Self::Exec { given, resolved, origin, linkage, by_listed_script } => Action::Exec(Exec {
                given: given.as_bytes(),
                resolved: resolved.as_bytes(),
                origin: *origin,
                linkage: *linkage,
                by_listed_script: *by_listed_script,
            }),
            Self::Map { path, origin } => Action::MapExecutable { path: path.as_bytes(), origin: *origin },
            Self::Connect { address, port, host, flags } => {
                names = host.map(|host| indices(host.as_bytes())).unwrap_or_default();
                Action::Connect(Destination {
                    address: *address,
                    port: *port,
                    transport: if *port == 0 { Transport::Datagram } else { Transport::Stream },
                    names: &names,
                    runtime_api: flags.0,
                    own_service: flags.1,
                    second_connection: flags.2,
                })
            }
            Self::Resolve(name) => Action::Resolve { name: name.as_bytes() },
            Self::Bind(address, port) => Action::Bind { address: *address, port: *port },
            Self::Read(path) => Action::OpenRead { path: path.as_bytes() },
            Self::Write(path) => Action::OpenWrite { path: path.as_bytes() },
            Self::ReadCredential(by_sdk) => {
                Action::ReadCredential { variable: b"AWS_SESSION_TOKEN", by_sdk: *by_sdk }
            }
            Self::Inherit => Action::InheritCredentials { variable: b"AWS_SESSION_TOKEN" },
            Self::Dangerous => Action::Dangerous { call: "ptrace" },
        };
        judge(&action)
    }

    fn typed(&self, policy: &Policy, context: Context) -> Verdict {
        let indices = |host: &[u8]| {
            let host = String::from_utf8_lossy(host);
            let patterns = policy.name_patterns();
            let matching = patterns.iter().enumerate().filter(|(_, pattern)| pattern.matches_name(&host));
            matching.map(|(index, _)| u16::try_from(index).unwrap()).collect()
        };
        self.judged(indices, |action| policy.verdict(action, &context))
    }

    /// The event as the difference of two policies sees it; `None` where it compares none of its kind.
    fn as_compared(&self) -> Option<Self> {
        let path = |path: &str| crate::is_trusted_name(path.as_bytes()) || path.starts_with("/tmp/");
        match self.clone() {
            Self::Exec { resolved, linkage: linkage @ (Linkage::Dynamic | Linkage::Static), .. }
                if path(resolved) =>
            {
                let writable = is_in_writable_place(resolved.as_bytes());
                let origin = if writable { Origin::Writable } else { Origin::ReadOnly };
                Some(Self::Exec { given: resolved, resolved, origin, linkage, by_listed_script: false })
            }
            Self::Read(own) | Self::Write(own) if !path(own) => None,
            Self::Connect { address, port, host, .. } if port > 0 && embedded(address).next().is_none() => {
                let host = host.filter(|host| !host.starts_with('.') && !host.is_empty());
                let address =
                    if host.is_some() { "203.0.113.1".parse().unwrap() } else { address.to_canonical() };
                Some(Self::Connect { address, port, host, flags: (false, false, false) })
            }
            Self::Resolve(name) if name.starts_with('.') || name.is_empty() || name.ends_with("arpa") => None,
            event @ (Self::Read(_) | Self::Write(_) | Self::Resolve(_) | Self::Inherit | Self::Dangerous) => {
                Some(event)
            }
            event @ Self::Bind(_, port) if port > 0 => Some(event),
            _ => None,
        }
    }

    /// What happens, where a connection by name is looked up first.
    fn compared(&self, policy: &Policy, context: Context) -> Decision {
        let own = self.typed(policy, context).decision;
        let Self::Connect { host: Some(host), .. } = self else { return own };
        let looked_up = Self::Resolve(host).typed(policy, context).decision;
        [own, looked_up].into_iter().max_by_key(|decision| *decision as u8).unwrap_or(own)
    }

    const fn word(&self) -> &'static str {
        match self {
            Self::Exec { .. } => "exec",
            Self::Map { .. } => "map-executable",
            Self::Connect { .. } => "connect",
            Self::Resolve(_) => "resolve",
            Self::Bind(..) => "bind",
            Self::Read(_) => "open-read",
            Self::Write(_) => "open-write",
            Self::ReadCredential(_) => "read-credential",
            Self::Inherit => "inherit-credentials",
            Self::Dangerous => "dangerous-call",
        }
    }

    fn compiled(&self, policy: CompiledPolicy<'_>, context: Context) -> Verdict {
        self.judged(|host| policy.name_patterns(host).collect(), |action| policy.verdict(action, &context))
    }
}

const fn severity(verdict: Verdict) -> u8 {
    match verdict.decision {
        Decision::Allow => 0,
        Decision::Report => 1,
        Decision::Deny => 2,
    }
}

const TODAY: Date = Date { year: 2026, month: 6, day: 1 };

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn printing_and_parsing_give_the_same_policy(text in policy_text()) {
        let policy = parse(&text);
        prop_assert_eq!(&policy, &parse(&policy.to_toml()), "{}", policy.to_toml());
    }

    #[test]
    fn compiled_and_typed_form_agree(
        text in policy_text(),
        events in prop::collection::vec((event(), context()), 60),
    ) {
        let policy = parse(&text).effective(TODAY);
        let bytes = policy.compile(TODAY).unwrap();
        let compiled = CompiledPolicy::new(&bytes).unwrap();
        for (event, context) in events {
            let typed = event.typed(&policy, context);
            let flat = event.compiled(compiled, context);
            prop_assert_eq!(typed, flat, "{:?} in {:?} under\n{}", event, context, text);
        }
    }

    #[test]
    fn observing_reports_exactly_what_enforcing_denies(
        text in policy_text(),
        events in prop::collection::vec((event(), context()), 60),
    ) {
        let policy = parse(&text).effective(TODAY);
        let observing = policy.clone().observing();
        for (event, context) in events {
            let (enforced, observed) = (event.typed(&policy, context), event.typed(&observing, context));
            match enforced.decision {
                Decision::Allow => prop_assert_eq!(observed.decision, Decision::Allow, "{:?}\n{}", event, text),
                Decision::Report | Decision::Deny => {
                    prop_assert_eq!(observed.decision, Decision::Report, "{:?}\n{}", event, text);
                }
            }
        }
    }

    #[test]
    fn adding_a_deny_never_allows_more(
        text in policy_text(),
        key in select(vec!["egress.deny", "files.deny_read", "files.deny_write"]),
        endpoint in select(&ENDPOINTS[..]),
        glob in select(&GLOBS[..]),
        events in prop::collection::vec((event(), context()), 60),
    ) {
        let policy = parse(&text);
        let entry = if key == "egress.deny" { endpoint } else { glob };
        let mut stricter = policy.clone();
        let added = parse(&format!("{key} = [\"{entry}\"]")).base;
        stricter.base.layer(added);
        for (event, context) in events {
            let (before, after) = (event.typed(&policy, context), event.typed(&stricter, context));
            prop_assert!(severity(after) >= severity(before), "{:?}: {:?} became {:?}", event, before, after);
        }
    }

    #[test]
    fn denying_shells_writable_programs_or_listeners_never_allows_more(
        text in policy_text(),
        line in select(vec![
            "process.shells = \"deny\"", "process.from_writable = \"deny\"", "egress.listen = \"deny\"",
            "tmp.writes = \"deny\"", "process.allow = []", "egress.allow = []", "credentials.reads = \"deny\"",
        ]),
        events in prop::collection::vec((event(), context()), 60),
    ) {
        let policy = parse(&text);
        let mut stricter = policy.clone();
        stricter.base.layer(parse(line).base);
        for (event, context) in events {
            let (before, after) = (event.typed(&policy, context), event.typed(&stricter, context));
            prop_assert!(severity(after) >= severity(before), "{:?}: {:?} became {:?}", event, before, after);
        }
    }

    #[test]
    fn what_is_denied_as_ipv4_is_denied_by_way_of_a_translator(
        text in policy_text(),
        address in any::<u32>().prop_map(std::net::Ipv4Addr::from),
        length in 0..=32_u8,
        port in select(&PORTS[..]),
        context in context(),
    ) {
        let mut policy = parse(&text);
        policy.base.layer(parse(&format!("egress.deny = [\"{address}/{length}\"]")).base);
        let connect = |address: IpAddr| {
            Event::Connect { address, port, host: None, flags: (false, false, false) }
        };
        let bytes = policy.compile(TODAY).unwrap();
        let compiled = CompiledPolicy::new(&bytes).unwrap();
        let [first, second, third, fourth] = address.octets();
        let (a, b) = (u16::from_be_bytes([first, second]), u16::from_be_bytes([third, fourth]));
        let plain = connect(address.into()).compiled(compiled, context);
        for translated in [
            std::net::Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a, b),
            std::net::Ipv6Addr::new(0x64, 0xff9b, 1, 7, 7, 7, a, b),
            std::net::Ipv6Addr::new(0x2002, a, b, 1, 2, 3, 4, 5),
        ] {
            let event = connect(translated.into());
            if plain.rule == crate::Rule::EgressDeny {
                prop_assert_eq!(event.compiled(compiled, context), plain, "{}", translated);
            }
            prop_assert_eq!(event.compiled(compiled, context), event.typed(&policy.effective(TODAY), context));
        }
    }

    #[test]
    fn observing_never_denies(text in policy_text(), event in event(), context in context()) {
        let observing = parse(&text).observing();
        prop_assert!(severity(event.typed(&observing, context)) < 2);
    }

    #[test]
    fn garbage_never_panics_the_parser(text in any::<String>(), cut in any::<prop::sample::Index>(), policy in policy_text()) {
        let _ = Policy::parse("garbage", &text);
        let at = cut.index(policy.len() + 1);
        let head: String = policy.chars().take(at).collect();
        let _ = Policy::parse("broken", &format!("{head}{text}"));
    }

    #[test]
    fn garbage_never_panics_the_compiled_form(
        text in policy_text(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        noise in prop::collection::vec(any::<u8>(), 0..300),
        events in prop::collection::vec((event(), context()), 10),
    ) {
        let mut bytes = parse(&text).compile(TODAY).unwrap();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        prop_assert!(CompiledPolicy::new(&noise).is_err());
        if let Ok(policy) = CompiledPolicy::new(&bytes) {
            for (event, context) in events {
                let _ = event.compiled(policy, context);
                let _ = (policy.limits(), policy.syscall_profile(), policy.strip_variable(b"AWS_REGION"));
                let _ = (policy.is_credential(b"X"), policy.denied_syscalls().count(), policy.has_name_rules());
            }
        }
    }

    #[test]
    fn a_compiled_policy_is_refused_when_cut_short(text in policy_text(), cut in any::<prop::sample::Index>()) {
        let bytes = parse(&text).compile(TODAY).unwrap();
        prop_assert!(CompiledPolicy::new(&bytes[..cut.index(bytes.len())]).is_err());
        let padded = [bytes.as_slice(), &[0; 64]].concat();
        prop_assert_eq!(CompiledPolicy::new(&padded).unwrap().as_bytes(), bytes.as_slice());
    }
}

proptest! {
    // Each case divides the patterns of two policies: some milliseconds, and tens of them unoptimised.
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_difference_has_every_action_that_is_treated_differently(
        texts in (policy_text(), policy_text()),
        events in prop::collection::vec((event(), context()), 40),
    ) {
        let (old, new) = (parse(&texts.0).effective(TODAY), parse(&texts.1).effective(TODAY));
        let difference = old.difference(&new);
        prop_assert!(difference.unknown.is_empty());
        for (event, context) in events {
            let context = Context { strongest: Plane::Process, launched: true, ..context };
            let Some(event) = event.as_compared() else { continue };
            let (before, after) = (event.compared(&old, context), event.compared(&new, context));
            let Some(effect) = Effect::of(before, after) else { continue };
            let who = (context.role, context.phase);
            let found = difference.changes.iter().any(|change| {
                change.action == event.word() && change.effect == effect && change.who.contains(&who)
            });
            prop_assert!(found, "{:?} {:?} in {:?}: {:#?}\n{}\n{}", effect, event, who, difference, texts.0, texts.1);
        }
    }
}
