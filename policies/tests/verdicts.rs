//! What the language means, rule by rule. Every line is asked of the typed and of the compiled form.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails, in its helpers too")]

use std::net::IpAddr;

use ringfence_policy::{
    Action, CompiledPolicy, Context, Date, Decision, Destination, Exec, Linkage, Origin, Phase, Plane,
    Policy, Role, Rule, SyscallProfile, Transport, Verdict,
};

const TODAY: Date = Date { year: 2026, month: 6, day: 1 };
const CHILD: Context =
    Context { phase: Phase::Invoke, role: Role::Child, strongest: Plane::Kernel, launched: true };
const RUNTIME: Context = Context { role: Role::Runtime, ..CHILD };
const PROCESS_PLANE: Context = Context { strongest: Plane::Process, ..CHILD };

fn policy(text: &str) -> Policy {
    Policy::parse("policy.toml", text).unwrap_or_else(|findings| panic!("{findings}")).policy
}

/// The verdict of both forms, which must be one.
#[track_caller]
fn judge(text: &str, action: &Action<'_>, context: Context) -> (Decision, Rule) {
    let policy = policy(text);
    let typed = policy.effective(TODAY).verdict(action, &context);
    let bytes = policy.compile(TODAY).unwrap();
    assert_eq!(typed, CompiledPolicy::new(&bytes).unwrap().verdict(action, &context), "{action:?}\n{text}");
    let Verdict { decision, rule } = typed;
    (decision, rule)
}

const fn exec<'a>(given: &'a str, resolved: &'a str) -> Exec<'a> {
    Exec {
        given: given.as_bytes(),
        resolved: resolved.as_bytes(),
        origin: Origin::ReadOnly,
        linkage: Linkage::Dynamic,
        by_listed_script: false,
    }
}

/// What both forms say of whether a script is listed.
#[track_caller]
fn lists(text: &str, exec: &Exec<'_>) -> bool {
    let policy = policy(text);
    let typed = policy.effective(TODAY).lists_script(exec, &CHILD);
    let bytes = policy.compile(TODAY).unwrap();
    assert_eq!(typed, CompiledPolicy::new(&bytes).unwrap().lists_script(exec, &CHILD), "{exec:?}\n{text}");
    typed
}

fn to(address: &str, port: u16) -> Destination<'static> {
    Destination {
        address: address.parse::<IpAddr>().unwrap(),
        port,
        transport: Transport::Stream,
        names: &[],
        runtime_api: false,
        own_service: false,
        second_connection: false,
    }
}

const ALLOWED: (Decision, Rule) = (Decision::Allow, Rule::None);

#[test]
fn children_are_what_the_list_says() {
    let text = "process.allow = [\"/usr/bin/convert\", \"/opt/bin/*\"]";
    let run = |path: &'static str| judge(text, &Action::Exec(exec(path, path)), CHILD);
    assert_eq!(run("/usr/bin/convert"), (Decision::Allow, Rule::ProcessAllow));
    assert_eq!(run("/opt/bin/ffmpeg"), (Decision::Allow, Rule::ProcessAllow));
    assert_eq!(run("/usr/bin/curl"), (Decision::Deny, Rule::ProcessAllow));
    assert_eq!(judge("", &Action::Exec(exec("/usr/bin/curl", "/usr/bin/curl")), CHILD), ALLOWED);
}

#[test]
fn a_link_on_read_only_ground_stands_for_its_target_and_a_planted_one_does_not() {
    let text = "process.allow = [\"/usr/bin/convert\", \"/tmp/tools/*\", \"/opt/tools/**\"]";
    let through_alternatives = exec("/usr/bin/convert", "/usr/bin/convert-im6.q16");
    assert_eq!(judge(text, &Action::Exec(through_alternatives), CHILD).0, Decision::Allow);
    let planted = exec("/tmp/tools/x", "/usr/bin/curl");
    assert_eq!(judge(text, &Action::Exec(planted), CHILD), (Decision::Deny, Rule::ProcessAllow));
    let dotted = exec("/opt/tools/../../usr/bin/curl", "/usr/bin/curl");
    assert_eq!(judge(text, &Action::Exec(dotted), CHILD), (Decision::Deny, Rule::ProcessAllow));
    let replaced = Exec { origin: Origin::Writable, ..exec("/usr/bin/convert", "/tmp/convert") };
    assert_eq!(judge(text, &Action::Exec(replaced), CHILD), (Decision::Deny, Rule::ProcessAllow));
}

#[test]
fn shells_are_refused_even_where_a_glob_covers_them() {
    let text = "process = { allow = [\"/usr/bin/*\", \"/bin/*\"], shells = \"deny\" }";
    assert_eq!(
        judge(text, &Action::Exec(exec("/bin/sh", "/usr/bin/dash")), CHILD),
        (Decision::Deny, Rule::ProcessShells)
    );
    // A copy or link under another name is still known by what it resolves to.
    assert_eq!(
        judge(text, &Action::Exec(exec("/usr/bin/x", "/usr/bin/busybox")), CHILD),
        (Decision::Deny, Rule::ProcessShells)
    );
    let reported = "process.shells = \"report\"";
    assert_eq!(
        judge(reported, &Action::Exec(exec("/bin/sh", "/bin/sh")), CHILD),
        (Decision::Report, Rule::ProcessShells)
    );
}

#[test]
fn what_the_function_wrote_is_neither_run_nor_mapped() {
    let text = "process.from_writable = \"deny\"";
    for origin in [Origin::Writable, Origin::Memory, Origin::Deleted] {
        let run = Exec { origin, ..exec("/tmp/x", "/tmp/x") };
        let map = Action::MapExecutable { path: b"/tmp/x.so", origin };
        assert_eq!(judge(text, &Action::Exec(run), CHILD), (Decision::Deny, Rule::ProcessFromWritable));
        assert_eq!(judge(text, &map, RUNTIME), (Decision::Deny, Rule::ProcessFromWritable));
        assert_eq!(judge("", &map, RUNTIME), ALLOWED);
    }
}

#[test]
fn a_binary_that_the_strongest_plane_cannot_follow_must_be_named() {
    let named = "process.allow = [\"/opt/bin/tool\"]";
    let globbed = "process.allow = [\"/opt/bin/*\"]";
    for linkage in [Linkage::Static, Linkage::Foreign, Linkage::Unknown] {
        let run = Action::Exec(Exec { linkage, ..exec("/opt/bin/tool", "/opt/bin/tool") });
        assert_eq!(judge(named, &run, PROCESS_PLANE), (Decision::Allow, Rule::ProcessAllow));
        assert_eq!(judge(globbed, &run, PROCESS_PLANE), (Decision::Deny, Rule::ProcessUncovered));
        assert_eq!(judge(globbed, &run, CHILD), (Decision::Allow, Rule::ProcessAllow));
        assert_eq!(
            judge("mode = \"observe\"", &run, PROCESS_PLANE),
            (Decision::Report, Rule::ProcessUncovered)
        );
        assert_eq!(judge("mode = \"off\"", &run, PROCESS_PLANE), ALLOWED);
    }
    let loader = Action::Exec(Exec { linkage: Linkage::Loader, ..exec("/lib64/ld.so", "/lib64/ld.so") });
    assert_eq!(judge("", &loader, CHILD), (Decision::Deny, Rule::ProcessUncovered));
}

#[test]
fn a_listed_script_brings_its_interpreter() {
    let text = "[process]\nallow = [\"/opt/bin/convert.sh\"]\nshells = \"deny\"\nfrom_writable = \"deny\"";
    let shell = exec("/bin/sh", "/usr/bin/dash");
    let run = |exec: Exec<'_>, context| judge(text, &Action::Exec(exec), context);
    assert_eq!(run(shell, CHILD), (Decision::Deny, Rule::ProcessShells));
    let interpreter = Exec { by_listed_script: true, ..shell };
    assert_eq!(run(interpreter, CHILD), (Decision::Allow, Rule::ProcessAllow));
    let planted = Exec { origin: Origin::Writable, ..interpreter };
    assert_eq!(run(planted, CHILD), (Decision::Deny, Rule::ProcessFromWritable));
    let loader = Exec { linkage: Linkage::Loader, ..interpreter };
    assert_eq!(run(loader, CHILD), (Decision::Deny, Rule::ProcessUncovered));
    assert_eq!(run(interpreter, RUNTIME), (Decision::Deny, Rule::ProcessAllow));
}

#[test]
fn a_script_is_listed_by_name_and_only_where_nothing_can_write_it() {
    let text = "process.allow = [\"/opt/bin/*\"]";
    let script = Exec { linkage: Linkage::Script, ..exec("/opt/bin/a.sh", "/opt/bin/a.sh") };
    assert!(lists(text, &script));
    assert!(!lists("process.shells = \"deny\"", &script), "without a list nothing is listed");
    assert!(!lists(text, &Exec { origin: Origin::Writable, ..script }));
    assert!(!lists(text, &Exec { linkage: Linkage::Dynamic, ..script }));
    assert!(!lists(text, &Exec { given: b"/tmp/a.sh", resolved: b"/usr/bin/a.sh", ..script }));
}

#[test]
fn the_runtime_does_not_replace_itself() {
    let run = Action::Exec(exec("/var/lang/bin/python3", "/var/lang/bin/python3"));
    let text = "process.allow = [\"/var/lang/bin/python3\"]";
    assert_eq!(judge(text, &run, RUNTIME), (Decision::Deny, Rule::ProcessAllow));
    assert_eq!(judge(text, &run, CHILD), (Decision::Allow, Rule::ProcessAllow));
    assert_eq!(judge(text, &run, Context { launched: false, ..RUNTIME }), ALLOWED);
    assert_eq!(judge("", &run, RUNTIME), ALLOWED);
}

#[test]
fn packets_go_where_the_lists_say_and_deny_wins() {
    let text = "egress = { allow = [\"10.0.0.0/8:5432\", \"[2001:db8::]/32\", \"192.0.2.1:1-99\"], deny = [\"10.9.0.0/16\"] }";
    let connect = |address, port| judge(text, &Action::Connect(to(address, port)), CHILD);
    assert_eq!(connect("10.1.2.3", 5432), (Decision::Allow, Rule::EgressAllow));
    assert_eq!(connect("::ffff:10.1.2.3", 5432), (Decision::Allow, Rule::EgressAllow));
    assert_eq!(connect("10.1.2.3", 443), (Decision::Deny, Rule::EgressAllow));
    assert_eq!(connect("10.9.2.3", 5432), (Decision::Deny, Rule::EgressDeny));
    assert_eq!(connect("2001:db8::1", 1), (Decision::Allow, Rule::EgressAllow));
    assert_eq!(connect("2001:db9::1", 1), (Decision::Deny, Rule::EgressAllow));
    assert_eq!(connect("192.0.2.1", 99), (Decision::Allow, Rule::EgressAllow));
    assert_eq!(connect("192.0.2.1", 100), (Decision::Deny, Rule::EgressAllow));
}

#[test]
fn an_ipv4_address_is_denied_by_way_of_a_translator_and_not_allowed() {
    let text = "egress = { deny = [\"169.254.169.254\", \"10.0.0.0/8:443\"] }";
    let connect = |address, port| judge(text, &Action::Connect(to(address, port)), CHILD);
    for address in ["64:ff9b::169.254.169.254", "64:ff9b:1::169.254.169.254", "2002:a9fe:a9fe::1"] {
        assert_eq!(connect(address, 80), (Decision::Deny, Rule::EgressDeny), "{address}");
    }
    assert_eq!(connect("64:ff9b::10.1.2.3", 443), (Decision::Deny, Rule::EgressDeny));
    assert_eq!(connect("64:ff9b::10.1.2.3", 80), ALLOWED);
    assert_eq!(connect("64:ff9b::192.0.2.1", 443), ALLOWED);
    let text = "egress.allow = [\"192.0.2.1\"]";
    let allowed = judge(text, &Action::Connect(to("64:ff9b::192.0.2.1", 443)), CHILD);
    assert_eq!(allowed, (Decision::Deny, Rule::EgressAllow));
    let text = "egress.allow = [\"64:ff9b::c000:201\"]";
    let allowed = judge(text, &Action::Connect(to("64:ff9b::192.0.2.1", 443)), CHILD);
    assert_eq!(allowed, (Decision::Allow, Rule::EgressAllow));
}

#[test]
fn an_empty_list_leaves_loopback_and_own_services() {
    let text = "egress.allow = []";
    assert_eq!(judge(text, &Action::Connect(to("1.1.1.1", 53)), CHILD), (Decision::Deny, Rule::EgressAllow));
    assert_eq!(judge(text, &Action::Connect(to("127.0.0.1", 8080)), CHILD), ALLOWED);
    assert_eq!(judge(text, &Action::Connect(to("::1", 8080)), CHILD), ALLOWED);
    let own = Destination { own_service: true, ..to("169.254.78.1", 53) };
    assert_eq!(judge(text, &Action::Connect(own), CHILD), ALLOWED);
    let denied = "egress.deny = [\"127.0.0.0/8:8080\"]";
    assert_eq!(
        judge(denied, &Action::Connect(to("127.0.0.1", 8080)), CHILD),
        (Decision::Deny, Rule::EgressDeny)
    );
}

#[test]
fn names_reach_the_addresses_that_the_resolver_tied_to_them() {
    let text = "egress = { allow = [\"*.example.com:443\", \"db.internal\"], deny = [\"evil.example.com\"] }";
    let bytes = policy(text).compile(TODAY).unwrap();
    let names: Vec<u16> = CompiledPolicy::new(&bytes).unwrap().name_patterns(b"api.example.com").collect();
    assert_eq!(names, [0]);
    let connect =
        |port, names| judge(text, &Action::Connect(Destination { names, ..to("192.0.2.7", port) }), CHILD);
    assert_eq!(connect(443, &names), (Decision::Allow, Rule::EgressAllow));
    assert_eq!(connect(80, &names), (Decision::Deny, Rule::EgressAllow));
    assert_eq!(connect(443, &[]), (Decision::Deny, Rule::EgressAllow));
    let both: Vec<u16> = CompiledPolicy::new(&bytes).unwrap().name_patterns(b"evil.example.com").collect();
    assert_eq!(connect(443, &both), (Decision::Deny, Rule::EgressDeny));
}

#[test]
fn destinations_are_refused_where_some_phase_enforces_a_rule_on_them() {
    let refuses = |text: &str| {
        let bytes = policy(&format!("version = 1\n{text}")).compile(TODAY).unwrap();
        CompiledPolicy::new(&bytes).unwrap().enforces_egress()
    };
    let allow = "egress = { allow = [\"192.0.2.7\"] }";
    assert!(refuses(&format!("mode = \"enforce\"\n{allow}")));
    assert!(!refuses(&format!("mode = \"observe\"\n{allow}")));
    assert!(refuses(&format!(
        "mode = \"observe\"\n{allow}\n[[rule]]\nwhen = {{ phase = \"init\" }}\negress.mode = \"enforce\""
    )));
}

#[test]
fn a_datagram_socket_asks_for_the_way_to_any_host_that_may_be_reached() {
    let text = "egress = { allow = [\"192.0.2.0/24:443\"], deny = [\"192.0.2.9\"] }";
    let asked = |port, transport| {
        let address = "192.0.2.7".parse().unwrap();
        let to = Destination {
            address,
            port,
            transport,
            names: &[],
            runtime_api: false,
            own_service: false,
            second_connection: false,
        };
        to.as_probe().map(|probe| probe.port)
    };
    for port in [53, 65535] {
        assert_eq!((asked(port, Transport::Datagram), asked(port, Transport::Stream)), (Some(0), None));
    }
    assert_eq!(asked(54, Transport::Datagram), None);
    let probe = |address, transport| {
        judge(text, &Action::Connect(Destination { transport, ..to(address, 0) }), CHILD)
    };
    assert_eq!(probe("192.0.2.7", Transport::Datagram), (Decision::Allow, Rule::EgressAllow));
    assert_eq!(probe("192.0.2.7", Transport::Stream), (Decision::Deny, Rule::EgressAllow));
    assert_eq!(probe("192.0.2.9", Transport::Datagram), (Decision::Deny, Rule::EgressDeny));
    assert_eq!(probe("198.51.100.1", Transport::Datagram), (Decision::Deny, Rule::EgressAllow));
}

#[test]
fn only_names_that_could_be_reached_are_resolved() {
    let text = "egress = { allow = [\"*.example.com:443\", \"10.0.0.0/8\"], deny = [\"evil.example.com\", \"odd.example.com:25\"] }";
    let resolve = |name: &'static str| judge(text, &Action::Resolve { name: name.as_bytes() }, CHILD);
    assert_eq!(resolve("api.example.com"), (Decision::Allow, Rule::EgressNames));
    assert_eq!(resolve("a.b.Example.COM."), (Decision::Allow, Rule::EgressNames));
    assert_eq!(resolve("example.com"), (Decision::Deny, Rule::EgressNames));
    assert_eq!(resolve("c2VjcmV0.attacker.test"), (Decision::Deny, Rule::EgressNames));
    assert_eq!(resolve("evil.example.com"), (Decision::Deny, Rule::EgressDeny));
    assert_eq!(resolve("odd.example.com"), (Decision::Allow, Rule::EgressNames));
    assert_eq!(resolve("localhost"), ALLOWED);
    assert_eq!(resolve("1.0.0.10.in-addr.arpa"), (Decision::Deny, Rule::EgressNames));
    assert_eq!(judge("egress.deny = [\"a.test\"]", &Action::Resolve { name: b"b.test" }, CHILD), ALLOWED);
}

#[test]
fn the_runtime_api_is_the_runtimes_own() {
    let api = Destination { runtime_api: true, ..to("169.254.100.1", 9001) };
    let second = Destination { second_connection: true, ..api };
    for text in ["", "egress = { allow = [], deny = [\"169.254.0.0/16\"] }"] {
        assert_eq!(judge(text, &Action::Connect(api), CHILD), (Decision::Deny, Rule::EgressRuntimeApi));
        assert_eq!(judge(text, &Action::Connect(api), RUNTIME), (Decision::Allow, Rule::EgressRuntimeApi));
        assert_eq!(judge(text, &Action::Connect(second), RUNTIME), (Decision::Deny, Rule::EgressRuntimeApi));
        // The agent hears of an invocation a little later than the runtime: "between" may be its beginning.
        let between = Context { phase: Phase::Between, ..RUNTIME };
        assert_eq!(judge(text, &Action::Connect(second), between), (Decision::Deny, Rule::EgressRuntimeApi));
        let init = Context { phase: Phase::Init, ..RUNTIME };
        assert_eq!(judge(text, &Action::Connect(second), init), (Decision::Allow, Rule::EgressRuntimeApi));
    }
    assert_eq!(judge("egress.runtime_api = \"any\"", &Action::Connect(api), CHILD), ALLOWED);
    assert_eq!(judge("mode = \"off\"", &Action::Connect(api), CHILD), ALLOWED);
}

#[test]
fn listeners_stay_where_the_policy_puts_them() {
    let bind = |listen: &str, address: &str, port| {
        let action = Action::Bind { address: address.parse().unwrap(), port };
        judge(&format!("egress.listen = \"{listen}\""), &action, CHILD).0
    };
    assert_eq!(bind("loopback", "127.0.0.1", 8080), Decision::Allow);
    assert_eq!(bind("loopback", "0.0.0.0", 8080), Decision::Deny);
    assert_eq!(bind("loopback", "0.0.0.0", 0), Decision::Allow);
    assert_eq!(bind("deny", "127.0.0.1", 8080), Decision::Deny);
    assert_eq!(bind("deny", "::", 0), Decision::Allow);
    assert_eq!(bind("allow", "0.0.0.0", 8080), Decision::Allow);
}

#[test]
fn denied_files_are_closed_after_init() {
    let text = "files = { deny_read = [\"/proc/*/environ\"], deny_write = [\"/var/task/**\"] }";
    let read = Action::OpenRead { path: b"/proc/17/environ" };
    assert_eq!(judge(text, &read, RUNTIME), (Decision::Deny, Rule::FilesDenyRead));
    assert_eq!(judge(text, &read, Context { phase: Phase::Init, ..RUNTIME }), ALLOWED);
    assert_eq!(judge(text, &Action::OpenRead { path: b"/proc/17/status" }, RUNTIME), ALLOWED);
    let write = Action::OpenWrite { path: b"/var/task/app.py" };
    assert_eq!(
        judge(text, &write, Context { phase: Phase::Init, ..RUNTIME }),
        (Decision::Deny, Rule::FilesDenyWrite)
    );
}

#[test]
fn writes_below_tmp_follow_their_list() {
    let write =
        |text: &str, path: &'static str| judge(text, &Action::OpenWrite { path: path.as_bytes() }, CHILD);
    let some = "tmp.writes = [\"/tmp/cache/**\"]";
    assert_eq!(write(some, "/tmp/cache/a"), (Decision::Allow, Rule::TmpWrites));
    assert_eq!(write(some, "/tmp/x"), (Decision::Deny, Rule::TmpWrites));
    assert_eq!(write(some, "/tmpx"), ALLOWED);
    assert_eq!(write("tmp.writes = \"deny\"", "/tmp/cache/a"), (Decision::Deny, Rule::TmpWrites));
    assert_eq!(write("", "/tmp/x"), ALLOWED);
}

#[test]
fn the_stricter_of_two_sections_decides() {
    let text = "tmp = { writes = \"deny\", mode = \"observe\" }\nfiles.deny_write = [\"/tmp/*.so\"]";
    assert_eq!(
        judge(text, &Action::OpenWrite { path: b"/tmp/x.so" }, CHILD),
        (Decision::Deny, Rule::FilesDenyWrite)
    );
    assert_eq!(
        judge(text, &Action::OpenWrite { path: b"/tmp/x" }, CHILD),
        (Decision::Report, Rule::TmpWrites)
    );
}

#[test]
fn credentials_are_for_the_sdks() {
    let read = |by_sdk| Action::ReadCredential { variable: b"AWS_SESSION_TOKEN", by_sdk };
    let inherit = Action::InheritCredentials { variable: b"AWS_SESSION_TOKEN" };
    let text = "credentials = { expose = \"runtime\", reads = \"report\" }";
    assert_eq!(judge(text, &read(false), RUNTIME), (Decision::Report, Rule::CredentialsReads));
    assert_eq!(judge(text, &read(true), RUNTIME), ALLOWED);
    assert_eq!(judge(text, &inherit, RUNTIME), (Decision::Deny, Rule::CredentialsExpose));
    assert_eq!(
        judge("credentials.reads = \"deny\"", &read(false), RUNTIME),
        (Decision::Deny, Rule::CredentialsReads)
    );
    assert_eq!(judge("credentials.expose = \"environment\"", &inherit, RUNTIME), ALLOWED);
}

#[test]
fn attacks_on_the_protection_are_always_refused() {
    let attack = Action::Dangerous { call: "ptrace" };
    assert_eq!(judge("", &attack, CHILD), (Decision::Deny, Rule::SelfProtection));
    assert_eq!(judge("mode = \"observe\"", &attack, CHILD), (Decision::Report, Rule::SelfProtection));
    assert_eq!(judge("mode = \"off\"", &attack, CHILD), ALLOWED);
}

#[test]
fn a_narrowed_rule_replaces_keys_while_its_condition_holds() {
    let text = "tmp.writes = \"deny\"\n[[rule]]\nwhen = { phase = \"init\", process = \"runtime\" }\ntmp.writes = \"allow\"\n\
                [[rule]]\nwhen = { process = \"child\" }\ntmp.mode = \"observe\"\n";
    let write = Action::OpenWrite { path: b"/tmp/x" };
    assert_eq!(judge(text, &write, RUNTIME), (Decision::Deny, Rule::TmpWrites));
    assert_eq!(judge(text, &write, Context { phase: Phase::Init, ..RUNTIME }), ALLOWED);
    assert_eq!(judge(text, &write, CHILD), (Decision::Report, Rule::TmpWrites));
}

#[test]
fn until_enforce_after_everything_is_observed() {
    let write = Action::OpenWrite { path: b"/tmp/x" };
    let later = "enforce_after = 2026-06-02\ntmp = { writes = \"deny\", mode = \"enforce\" }";
    let today = "enforce_after = 2026-06-01\ntmp = { writes = \"deny\", mode = \"enforce\" }";
    assert_eq!(judge(later, &write, CHILD).0, Decision::Report);
    assert_eq!(judge(today, &write, CHILD).0, Decision::Deny);
}

#[test]
fn children_are_stripped_and_limited_only_where_the_policy_enforces() {
    let text = "process = { environment = { strip = [\"STRIPE_*\"] }, syscalls = { extends = \"strict\", deny = [\"chmod\"] }, \
                limits = { processes = 3, file_size = \"1KiB\" } }\n\
                credentials = { expose = \"runtime\", decoys = [\"BAIT\"] }";
    let bytes = policy(text).compile(TODAY).unwrap();
    let compiled = CompiledPolicy::new(&bytes).unwrap();
    assert!(compiled.strip_variable(b"STRIPE_KEY") && compiled.strip_variable(b"AWS_SESSION_TOKEN"));
    assert!(!compiled.strip_variable(b"AWS_REGION") && !compiled.strip_variable(b"BAIT"));
    assert!(compiled.is_credential(b"BAIT") && compiled.is_credential(b"AWS_ACCESS_KEY_ID"));
    assert!(!compiled.is_credential(b"AWS_REGION"));
    assert_eq!(compiled.limits().processes, Some(3));
    assert_eq!(compiled.limits().file_size, Some(1024));
    assert_eq!(compiled.limits().memory, None);
    assert_eq!(compiled.syscall_profile(), SyscallProfile::Strict);
    assert_eq!(compiled.denied_syscalls().collect::<Vec<_>>(), ["chmod"]);

    let observed = policy(&format!("mode = \"observe\"\n{text}")).compile(TODAY).unwrap();
    let compiled = CompiledPolicy::new(&observed).unwrap();
    assert!(!compiled.strip_variable(b"STRIPE_KEY") && !compiled.strip_variable(b"AWS_SESSION_TOKEN"));
    assert_eq!((compiled.limits().processes, compiled.syscall_profile()), (None, SyscallProfile::None));
    assert!(compiled.is_credential(b"BAIT"));
}

#[test]
fn planes_learn_what_they_need_not_look_at() {
    let flags = |text: &str| {
        let bytes = policy(text).compile(TODAY).unwrap();
        let compiled = CompiledPolicy::new(&bytes).unwrap();
        let names =
            ["exec", "map", "egress", "names", "bind", "read at init", "read", "write", "credentials"];
        let has = [
            compiled.has_exec_rules(),
            compiled.has_map_rules(),
            compiled.has_egress_rules(),
            compiled.has_name_rules(),
            compiled.has_bind_rules(),
            compiled.has_read_rules(Phase::Init),
            compiled.has_read_rules(Phase::Invoke),
            compiled.has_write_rules(),
            compiled.has_credential_rules(),
        ];
        names
            .into_iter()
            .zip(has)
            .filter(|(_, has)| *has)
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(flags(""), "exec, egress");
    assert_eq!(flags("mode = \"off\"\negress.allow = []\nprocess.allow = []"), "");
    assert_eq!(flags("files.deny_read = [\"/x\"]"), "exec, egress, read");
    assert_eq!(flags("egress = { allow = [], listen = \"deny\" }"), "exec, egress, names, bind");
    assert_eq!(flags("egress.deny = [\"a.test\"]"), "exec, egress, names");
    assert_eq!(
        flags("process.from_writable = \"report\"\ntmp.writes = \"deny\""),
        "exec, map, egress, write"
    );
    assert_eq!(flags("credentials.reads = \"report\""), "exec, egress, credentials");
}

#[test]
fn lists_that_do_not_fit_are_refused() {
    let globs: Vec<String> = (0..512).map(|index| format!("\"/{index:0>200}\"")).collect();
    let policy = policy(&format!("files.deny_read = [{}]", globs.join(", ")));
    let error = policy.compile(TODAY).unwrap_err().to_string();
    assert!(error.contains("has room for 65535"), "{error}");
}
