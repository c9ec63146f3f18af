//! Every diagnostic as a user reads it.

use ringfence_policy::Policy;

/// What is said about `text`: its errors, or the warnings of a policy that is used.
fn findings(text: &str) -> String {
    match Policy::parse("policy.toml", text) {
        Ok(parsed) => parsed.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"),
        Err(findings) => findings.to_string(),
    }
}

#[test]
fn an_unknown_key_suggests_the_nearest() {
    let text = r#"[process]
alow = ["/usr/bin/convert"]
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: unknown key "alow" in [process]
     --> policy.toml:2:1
      |
    2 | alow = ["/usr/bin/convert"]
      | ^^^^ unknown key
    hint: did you mean `allow`?
    "#);
}

#[test]
fn an_unknown_section_suggests_the_nearest() {
    let text = r"[proces]
allow = []
";
    insta::assert_snapshot!(findings(text), @r#"
    error: unknown key "proces" in the policy
     --> policy.toml:1:2
      |
    1 | [proces]
      |  ^^^^^^ unknown key
    hint: did you mean `process`?
    "#);
}

#[test]
fn a_key_outside_its_section_is_sent_there() {
    let text = r#"version = 1
shells = "deny"
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: unknown key "shells" in the policy
     --> policy.toml:2:1
      |
    2 | shells = "deny"
      | ^^^^^^ unknown key
    hint: it is a key of [process]: move it there, or write process.shells = …
    "#);
}

#[test]
fn an_unknown_word_suggests_the_nearest() {
    let text = r#"mode = "enforced"
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected "off", "observe" or "enforce", found "enforced"
     --> policy.toml:1:8
      |
    1 | mode = "enforced"
      |        ^^^^^^^^^^ expected "off", "observe" or "enforce"
    hint: did you mean "enforce"?
    "#);
}

#[test]
fn a_word_of_the_wrong_type_lists_the_words() {
    let text = r"[process]
survivors = true
";
    insta::assert_snapshot!(findings(text), @r#"
    error: expected "allow", "report" or "kill", found `true`
     --> policy.toml:2:13
      |
    2 | survivors = true
      |             ^^^^ expected "allow", "report" or "kill"
    hint: write one of these words in quotes: allow, report, kill
    "#);
}

#[test]
fn every_finding_is_told_not_only_the_first() {
    let text = r#"version = 2
mode = "enforce"

[process]
allow = ["convert", "/usr/bin/../x"]
shells = "no"

[egress]
allow = ["https://api.example.com/v1"]
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected version 1, found `2`
     --> policy.toml:1:11
      |
    1 | version = 2
      |           ^ expected version 1
    hint: write version = 1: it is the only one that this release reads

    error: expected an absolute path or glob, found "convert"
     --> policy.toml:5:10
      |
    5 | allow = ["convert", "/usr/bin/../x"]
      |          ^^^^^^^^^ expected an absolute path or glob
    hint: begin it with a slash: programs are not looked up in PATH here

    error: expected a path without `.`, `..` and empty components, found "/usr/bin/../x"
     --> policy.toml:5:21
      |
    5 | allow = ["convert", "/usr/bin/../x"]
      |                     ^^^^^^^^^^^^^^^ expected a path without `.`, `..` and empty components
    hint: write the path as realpath(1) prints it

    error: expected "allow", "report" or "deny", found "no"
     --> policy.toml:6:10
      |
    6 | shells = "no"
      |          ^^^^ expected "allow", "report" or "deny"
    hint: write one of these words in quotes: allow, report, deny

    error: expected a host, not a URL, found "https://api.example.com/v1"
     --> policy.toml:9:10
      |
    9 | allow = ["https://api.example.com/v1"]
      |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^ expected a host, not a URL
    hint: leave out the scheme and the path: write host:443
    "#);
}

#[test]
fn a_string_where_a_list_is_expected() {
    let text = r#"[process]
allow = "/usr/bin/convert"
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected a list, found "/usr/bin/convert"
     --> policy.toml:2:9
      |
    2 | allow = "/usr/bin/convert"
      |         ^^^^^^^^^^^^^^^^^^ expected a list
    hint: put it in brackets: ["…"]
    "#);
}

#[test]
fn a_double_star_inside_a_component() {
    let text = r#"[files]
deny_read = ["/var/**.py"]
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected `**` as a whole component, found "/var/**.py"
     --> policy.toml:2:14
      |
    2 | deny_read = ["/var/**.py"]
      |              ^^^^^^^^^^^^ expected `**` as a whole component
    hint: write /** for any depth, or * within one component
    "#);
}

#[test]
fn a_set_that_is_not_closed() {
    let text = r#"[files]
deny_read = ["/var/[a-z"]
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected a set that is closed: [a-z], found "/var/[a-z"
     --> policy.toml:2:14
      |
    2 | deny_read = ["/var/[a-z"]
      |              ^^^^^^^^^^^ expected a set that is closed: [a-z]
    hint: write \\[ in a TOML string for a bracket itself
    "#);
}

#[test]
fn a_path_that_ends_in_a_slash() {
    let text = r#"[tmp]
keep = ["/tmp/cache/"]
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected a path without a slash at its end, found "/tmp/cache/"
     --> policy.toml:2:9
      |
    2 | keep = ["/tmp/cache/"]
      |         ^^^^^^^^^^^^^ expected a path without a slash at its end
    hint: end it with /** to mean all that is below
    "#);
}

#[test]
fn a_wildcard_inside_a_host_name() {
    let text = r#"[egress]
allow = ["api.*.amazonaws.com:443"]
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected `*.` at the start as the only wildcard, found "api.*.amazonaws.com:443"
     --> policy.toml:2:10
      |
    2 | allow = ["api.*.amazonaws.com:443"]
      |          ^^^^^^^^^^^^^^^^^^^^^^^^^ expected `*.` at the start as the only wildcard
    hint: write *.example.com for all names below example.com
    "#);
}

#[test]
fn a_port_out_of_range() {
    let text = r#"[egress]
allow = ["api.example.com:99999"]
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected a port from 1 to 65535, or a range of them, found "api.example.com:99999"
     --> policy.toml:2:10
      |
    2 | allow = ["api.example.com:99999"]
      |          ^^^^^^^^^^^^^^^^^^^^^^^ expected a port from 1 to 65535, or a range of them
    hint: write host:443 or host:5000-5100
    "#);
}

#[test]
fn a_network_with_too_long_a_prefix() {
    let text = r#"[egress]
deny = ["10.0.0.0/64"]
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected an IP address or network, found "10.0.0.0/64"
     --> policy.toml:2:9
      |
    2 | deny = ["10.0.0.0/64"]
      |         ^^^^^^^^^^^^^ expected an IP address or network
    hint: write 10.0.0.0/8, 10.1.2.3 or 2001:db8::/32
    "#);
}

#[test]
fn an_address_in_brackets_that_is_none() {
    let text = r#"[egress]
deny = ["[10.0.0.1]:80"]
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected an IPv6 address in brackets, found "[10.0.0.1]:80"
     --> policy.toml:2:9
      |
    2 | deny = ["[10.0.0.1]:80"]
      |         ^^^^^^^^^^^^^^^ expected an IPv6 address in brackets
    hint: write [2001:db8::1]:443 or [2001:db8::]/32
    "#);
}

#[test]
fn a_size_without_a_unit_that_exists() {
    let text = r#"[process]
limits = { memory = "256 megabytes", processes = 0 }
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected a size in bytes, found "256 megabytes"
     --> policy.toml:2:21
      |
    2 | limits = { memory = "256 megabytes", processes = 0 }
      |                     ^^^^^^^^^^^^^^^ expected a size in bytes
    hint: write "64MiB" (units: B, KiB, MiB, GiB), or a number of bytes

    error: expected a whole number from 1, found `0`
     --> policy.toml:2:50
      |
    2 | limits = { memory = "256 megabytes", processes = 0 }
      |                                                  ^ expected a whole number from 1
    hint: leave the key out for no limit
    "#);
}

#[test]
fn an_unknown_limit() {
    let text = r#"[process]
limits = { file_sise = "1MiB" }
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: unknown key "file_sise" in [process.limits]
     --> policy.toml:2:12
      |
    2 | limits = { file_sise = "1MiB" }
      |            ^^^^^^^^^ unknown key
    hint: did you mean `file_size`?
    "#);
}

#[test]
fn a_syscall_table_without_a_profile() {
    let text = r#"[process]
syscalls = { deny = ["chmod"] }
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: a profile without `extends`
     --> policy.toml:2:12
      |
    2 | syscalls = { deny = ["chmod"] }
      |            ^^^^^^^^^^^^^^^^^^^^ expected `extends` here
    hint: write { extends = "strict", deny = ["…"] }
    "#);
}

#[test]
fn a_threshold_that_is_none() {
    let text = r#"[anomaly]
duration = "3 times p99"
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected a multiple of a percentile, found "3 times p99"
     --> policy.toml:2:12
      |
    2 | duration = "3 times p99"
      |            ^^^^^^^^^^^^^ expected a multiple of a percentile
    hint: write "p99 * 3" (p1 to p99, a factor with up to 3 decimals)
    "#);
}

#[test]
fn a_date_in_quotes() {
    let text = r#"enforce_after = "2026-12-24"
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected a date, found "2026-12-24"
     --> policy.toml:1:17
      |
    1 | enforce_after = "2026-12-24"
      |                 ^^^^^^^^^^^^ expected a date
    hint: write a day without quotes: 2026-12-24
    "#);
}

#[test]
fn a_webhook_that_is_not_https() {
    let text = r#"[report]
webhook = "http://hooks.example/x"
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected an https URL, found "http://hooks.example/x"
     --> policy.toml:2:11
      |
    2 | webhook = "http://hooks.example/x"
      |           ^^^^^^^^^^^^^^^^^^^^^^^^ expected an https URL
    hint: write "https://host/path"; credentials do not belong in a policy
    "#);
}

#[test]
fn writes_that_are_neither_word_nor_list() {
    let text = r#"[tmp]
writes = "none"
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected "allow", "deny" or a list of globs, found "none"
     --> policy.toml:2:10
      |
    2 | writes = "none"
      |          ^^^^^^ expected "allow", "deny" or a list of globs
    hint: write writes = ["/tmp/cache/**"] to allow some files
    "#);
}

#[test]
fn a_pack_that_does_not_exist() {
    let text = r#"extends = ["webapi", "baseline"]
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected "baseline", "web-api", "document-worker" or "learn", found "webapi"
     --> policy.toml:1:12
      |
    1 | extends = ["webapi", "baseline"]
      |            ^^^^^^^^ expected "baseline", "web-api", "document-worker" or "learn"
    hint: did you mean "web-api"?
    "#);
}

#[test]
fn a_rule_without_a_condition() {
    let text = r#"[[rule]]
tmp.writes = "deny"
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: a [[rule]] without `when`
     --> policy.toml:1:1
      |
    1 | [[rule]]
      | ^^^^^^^^ expected `when` here
    hint: add when = { phase = "init" }; what always holds stands outside of [[rule]]
    "#);
}

#[test]
fn a_rule_with_an_unknown_phase() {
    let text = r#"[[rule]]
when = { phase = "initialization" }
tmp.writes = "deny"
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected "init", "invoke", "between" or "shutdown", found "initialization"
     --> policy.toml:2:18
      |
    2 | when = { phase = "initialization" }
      |                  ^^^^^^^^^^^^^^^^ expected "init", "invoke", "between" or "shutdown"
    hint: did you mean "init"?
    "#);
}

#[test]
fn a_rule_with_an_unknown_process() {
    let text = r#"[[rule]]
when = { process = "children" }
tmp.writes = "deny"
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected "runtime", "child" or a glob that begins with a slash, found "children"
     --> policy.toml:2:20
      |
    2 | when = { process = "children" }
      |                    ^^^^^^^^^^ expected "runtime", "child" or a glob that begins with a slash
    hint: did you mean "child"?
    "#);
}

#[test]
fn a_rule_that_narrows_what_cannot_be_narrowed() {
    let text = r#"[[rule]]
when = { phase = "init" }
process.limits = { processes = 3 }
"#;
    insta::assert_snapshot!(findings(text), @r"
    error: `process.limits` cannot be narrowed by a [[rule]]
     --> policy.toml:3:9
      |
    3 | process.limits = { processes = 3 }
      |         ^^^^^^ applies to the whole environment
    hint: set it in [process]
    ");
}

#[test]
fn a_rule_for_one_executable_is_a_warning() {
    let text = r#"[[rule]]
when = { process = "/usr/bin/convert" }
tmp.writes = "deny"
"#;
    insta::assert_snapshot!(findings(text), @r#"
    warning: rules for single executables are not built yet
     --> policy.toml:2:20
      |
    2 | when = { process = "/usr/bin/convert" }
      |                    ^^^^^^^^^^^^^^^^^^ this rule never applies
    hint: use "child" to narrow a rule to all processes that the runtime starts
    "#);
}

#[test]
fn a_rule_with_single_brackets() {
    let text = r#"[rule]
when = { phase = "init" }
"#;
    insta::assert_snapshot!(findings(text), @r"
    error: expected a list of rules, found a table
     --> policy.toml:1:1
      |
    1 | [rule]
      | ^^^^^^ expected a list of rules
    hint: write [[rule]] with two pairs of brackets
    ");
}

#[test]
fn a_section_that_is_no_table() {
    let text = r#"process = "deny"
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected a table, found "deny"
     --> policy.toml:1:11
      |
    1 | process = "deny"
      |           ^^^^^^ expected a table
    hint: write its keys under [process], or in braces: { key = value }
    "#);
}

#[test]
fn a_variable_with_a_value() {
    let text = r#"[process]
environment = { strip = ["A=b"] }
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected the name of a variable or a glob, found "A=b"
     --> policy.toml:2:26
      |
    2 | environment = { strip = ["A=b"] }
      |                          ^^^^^ expected the name of a variable or a glob
    hint: leave out `=` and what follows it
    "#);
}

#[test]
fn a_decoy_with_a_wildcard() {
    let text = r#"[credentials]
decoys = ["STRIPE_*"]
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected a name of letters, digits and underscores, found "STRIPE_*"
     --> policy.toml:2:11
      |
    2 | decoys = ["STRIPE_*"]
      |           ^^^^^^^^^^ expected a name of letters, digits and underscores
    hint: wildcards have no meaning here: write the name out
    "#);
}

#[test]
fn text_that_is_not_toml() {
    let text = r"[process
allow = [1,
";
    insta::assert_snapshot!(findings(text), @r"
    error: unclosed table, expected `]`
     --> policy.toml:1:9
      |
    1 | [process
      |         ^
    hint: mend this first: the rest is checked once the text is TOML

    error: unclosed array, expected `]`
     --> policy.toml:2:12
      |
    2 | allow = [1,
      |            ^
    hint: mend this first: the rest is checked once the text is TOML
    ");
}

#[test]
fn a_key_that_stands_twice() {
    let text = r#"mode = "enforce"
mode = "observe"
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: duplicate key
     --> policy.toml:2:1
      |
    2 | mode = "observe"
      | ^^^^
    hint: keep one of the two
    "#);
}

#[test]
fn a_line_with_tabs_and_wide_characters() {
    let text = r#"[process]
	allow = ["/ü", "relativ/ä"]
"#;
    insta::assert_snapshot!(findings(text), @r#"
    error: expected an absolute path or glob, found "relativ/ä"
     --> policy.toml:2:17
      |
    2 |  allow = ["/ü", "relativ/ä"]
      |                 ^^^^^^^^^^^ expected an absolute path or glob
    hint: begin it with a slash: programs are not looked up in PATH here
    "#);
}

#[test]
fn what_is_not_built_says_what_holds_and_what_to_write() {
    let text = r#"[credentials]
expose = "broker"
decoys = ["STRIPE_SECRET_KEY"]
[tmp]
max = { files = 10 }
secrets = "report"
[report]
format = "ocsf"
metrics = false
"#;
    insta::assert_snapshot!(findings(text), @r#"
    warning: `credentials.expose = "broker"` is not built yet
     --> policy.toml:2:10
      |
    2 | expose = "broker"
      |          ^^^^^^^^ children have no credentials, the runtime's environment has them
    hint: write "runtime": children have no credentials, as with "broker" today

    warning: `credentials.decoys` is not built yet
     --> policy.toml:3:10
      |
    3 | decoys = ["STRIPE_SECRET_KEY"]
      |          ^^^^^^^^^^^^^^^^^^^^^ a decoy counts as a credential variable, its use elsewhere is not noticed
    hint: leave the key out, or set reads = "report": reads of a decoy are then recorded

    warning: `tmp.max` is not built yet
     --> policy.toml:5:7
      |
    5 | max = { files = 10 }
      |       ^^^^^^^^^^^^^^ nothing limits what lies in /tmp
    hint: limit single files by process.limits = { file_size = "64MiB" }, and wipe what is left

    warning: `tmp.secrets` is not built yet
     --> policy.toml:6:11
      |
    6 | secrets = "report"
      |           ^^^^^^^^ what is left is not searched for keys
    hint: leave the key out: residue = "wipe" removes what is left, keys too

    warning: `report.format = "ocsf"` is not built yet
     --> policy.toml:8:10
      |
    8 | format = "ocsf"
      |          ^^^^^^ records are written in the format of Ringfence
    hint: write "ringfence", or leave the key out
    "#);
}

#[test]
fn what_makes_an_allow_list_void_is_told() {
    let text = r#"[process]
allow = ["/lib64/ld-linux-x86-64.so.2", "/usr/bin/*", "/bin/sh", "/usr/bin/env", "/tmp/tool", "/usr/bin/convert"]
"#;
    let told: Vec<String> = Policy::parse("policy.toml", text)
        .unwrap()
        .warnings
        .iter()
        .map(|warning| format!("{}: {} ({})", warning.message, warning.label, warning.hint))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    process.allow covers "/lib64/ld-linux-x86-64.so.2", which runs any program that its arguments name: makes the whole allow list void (leave the loader out: it starts programs that the list does not have)
    process.allow covers "/usr/bin/python3", which runs any code that its arguments or its input hold: makes the whole allow list void (name the script that is to run: an allowed script may use its interpreter)
    process.allow covers "/bin/sh", a shell, which runs any command line: only the programs that it starts are judged by the list (name the script that is to run: an allowed script may use its shell, also if shells = "deny")
    process.allow covers "/usr/bin/env", which starts the commands that its arguments name: each of these commands is judged by the list too (leave it out unless the function needs it: name the program that it starts)
    process.allow names "/tmp/tool", which the function can write: the function can put any program there (ship the program with the code (/var/task) or in a layer (/opt))
    "#);
}

#[test]
fn a_system_call_that_no_kernel_has_suggests_the_nearest() {
    let text = r#"[process]
syscalls = { extends = "strict", deny = ["chmod", "fchmdat", "frobnicate", "ptrace"] }
"#;
    insta::assert_snapshot!(findings(text), @r#"
    warning: no system call is called "fchmdat"
     --> policy.toml:2:51
      |
    2 | syscalls = { extends = "strict", deny = ["chmod", "fchmdat", "frobnicate", "ptrace"] }
      |                                                   ^^^^^^^^^ process.syscalls will not be covered
    hint: did you mean "fchmodat"?

    warning: no system call is called "frobnicate"
     --> policy.toml:2:62
      |
    2 | syscalls = { extends = "strict", deny = ["chmod", "fchmdat", "frobnicate", "ptrace"] }
      |                                                              ^^^^^^^^^^^^ process.syscalls will not be covered
    hint: write a name as syscalls(2) lists it
    "#);
}

#[test]
fn a_start_that_would_be_refused_says_where_and_for_what() {
    let text = r#"on_degraded = "refuse"
[process]
allow = []
syscalls = "strict"
[tmp]
max = { files = 10 }
[code]
native = "deny"
imports = "report"
"#;
    let told: Vec<String> = Policy::parse("policy.toml", text)
        .unwrap()
        .warnings
        .iter()
        .map(|warning| format!("{}:{} {}: {}", warning.line, warning.column, warning.message, warning.label))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    1:15 on_degraded = "refuse" keeps the function from starting in strict, nested and open: nothing enforces tmp.max there
    1:15 on_degraded = "refuse" keeps the function from starting in strict, which is today's Lambda: nothing enforces process.syscalls there
    1:15 on_degraded = "refuse" keeps the function from starting wherever the runtime has no hook that judges it: nothing enforces code.native there
    6:7 `tmp.max` is not built yet: nothing limits what lies in /tmp
    "#);
    let observed = text.replace("[process]", "mode = \"observe\"\n[process]");
    assert!(!findings(&observed).contains("keeps the function from starting"));
}
