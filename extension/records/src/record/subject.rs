//! What a violation is about, as far as its detail tells: helpers of packages, copies of the environment, the session
//! token that AWS's extensions ask for, the X-Ray daemon; and the line of policy that would allow it.
//!
//! Pure functions over a [`Report`]. The details come from language hooks and from the agent; they change how a record
//! reads and never what was decided. [`super::Violation`] and [`super::severity`] ask, and so does the agent.

use core::fmt;

use ringfence_policy::{CREDENTIAL_VARIABLES, Rule, is_trusted_name};

use crate::json::Object;
use crate::message::{ActionKind, Outcome, Report};
use crate::redact::Redactor;

/// Begins the detail of a program that a package or the standard library wants, not the function itself.
pub const ASKED: &[u8] = b"asked for by ";
/// Begins the detail of a program that a helper of the JVM was to execute; the helper's path follows.
pub const BY_WAY: &[u8] = b"by way of ";
/// The detail of what goes to the X-Ray daemon.
pub const TRACING: &[u8] = b"the X-Ray daemon, which takes traces";
/// What the session token is to those who read it alone.
pub(super) const PROOF: &str = ", which the Parameters and Secrets extension asks its callers for,";
/// The detail of a read by getenv(3) in a runtime that has no hook: its SDK and other code are one program.
pub const NATIVE: &[u8] = b"by native code, an SDK's or not,";
/// The detail of a datagram socket's connection to a port by which resolvers ask which way leads to an address.
pub const WAY: &[u8] = b"a datagram socket, as resolvers connect one to find the nearest address";
/// Begins the detail of a read of all variables by a package.
pub const PACKAGE: &[u8] = b"in a copy of the whole environment, by the package ";

/// Where helpers are installed. What bears such a name in a writable place is none.
const INSTALLED: [&[u8]; 5] = [b"/usr/", b"/bin/", b"/sbin/", b"/opt/", b"/var/lang/"];

/// Programs that packages start to find out where they are: libraries, machine, version of the code.
const HELPERS: [&[u8]; 20] = [
    b"ldconfig",
    b"ldconfig.real",
    b"ldd",
    b"uname",
    b"gcc",
    b"cc",
    b"objdump",
    b"ld",
    b"file",
    b"git",
    b"hostname",
    b"lsb_release",
    b"getconf",
    b"arch",
    b"id",
    b"whoami",
    b"which",
    b"lscpu",
    b"lspci",
    b"nproc",
];

/// Whether this is the start of a known helper, wanted by a package or the standard library.
#[must_use]
pub fn is_helper(report: &Report<'_>) -> bool {
    let name = report.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    // `x86_64-linux-gnu-gcc-12`: with target and version.
    let is_named = |helper: &[u8]| {
        name == helper
            || (name.starts_with(b"x86_64-") || name.starts_with(b"aarch64-"))
                && name.split(|byte| *byte == b'-').any(|part| part == helper)
    };
    report.action == ActionKind::Exec
        && report.detail.starts_with(ASKED)
        && INSTALLED.iter().any(|folder| report.path.starts_with(folder))
        && HELPERS.iter().any(|helper| is_named(helper))
}

/// Whether this is a read of the session token, which AWS's extensions take as their caller's proof. Alone it signs no
/// request. A read that was denied is another matter: the function then does not get what it wants.
#[must_use]
pub fn is_proof(report: &Report<'_>) -> bool {
    report.action == ActionKind::ReadCredential
        && report.outcome == Outcome::Reported
        && report.name == b"AWS_SESSION_TOKEN"
        && report.detail.is_empty()
}

/// Whether this is a read by getenv(3) of which nothing tells whether an SDK made it.
#[must_use]
pub fn is_native_read(report: &Report<'_>) -> bool {
    report.action == ActionKind::ReadCredential
        && report.outcome == Outcome::Reported
        && report.detail == NATIVE
}

/// Whether a violation is the everyday work of a function or a package: worth knowing, and no sign of an attack.
#[must_use]
pub fn is_everyday(report: &Report<'_>) -> bool {
    is_helper(report)
        || is_proof(report)
        || report.detail == TRACING
        || is_native_read(report)
        || (report.action == ActionKind::ReadCredential && report.detail.starts_with(PACKAGE))
}

/// Writes `policyLine`: what to write where to allow the deed. Nothing where no single value would.
pub(super) fn policy_line(report: &Report<'_>, redactor: &Redactor<'_>, out: &mut Object<'_>) -> fmt::Result {
    let mut write =
        |section: &'static str, key: &'static str, value: &dyn Fn(&mut Object<'_>) -> fmt::Result| {
            out.object("policyLine", |out| {
                out.word("section", section)?;
                out.word("key", key)?;
                value(out)
            })
        };
    let text = |value: &[u8], out: &mut Object<'_>| out.public("value", redactor.public(value), super::PATH);
    match (report.rule, report.action) {
        (Rule::ProcessAllow | Rule::ProcessUncovered, ActionKind::Exec) if !report.path.is_empty() => {
            // A name that is not the plain path of a file is no entry of the list: `detail` has the file that it leads to.
            let resolved = !is_trusted_name(report.path) && report.detail.starts_with(b"/");
            let path = if resolved { report.detail } else { report.path };
            let path = report.detail.strip_prefix(BY_WAY).unwrap_or(path);
            write("process", "allow", &|out| text(path, out))
        }
        (Rule::EgressAllow | Rule::EgressNames, ActionKind::Resolve) if is_host(report.name) => {
            write("egress", "allow", &|out| text(host_of(report.name), out))
        }
        (Rule::EgressAllow, ActionKind::Connect | ActionKind::Send) => match report.address {
            Some(address) if report.name.is_empty() => {
                write("egress", "allow", &|out| out.display("value", address))
            }
            Some(address) => {
                let mut buffer = [0; super::TEXT + 8];
                let value = with_port(report.name, address.port(), &mut buffer);
                write("egress", "allow", &|out| text(value, out))
            }
            None => Ok(()),
        },
        (Rule::EgressListen, ActionKind::Bind) => {
            let loopback = report.address.is_some_and(|address| address.ip().is_loopback());
            write("egress", "listen", &|out| out.word("value", if loopback { "loopback" } else { "allow" }))
        }
        (Rule::CredentialsReads, ActionKind::ReadCredential)
            if (report.detail.is_empty() || is_native_read(report))
                && CREDENTIAL_VARIABLES.iter().any(|known| known.as_bytes() == report.name) =>
        {
            write("credentials", "reads_allow_variables", &|out| text(report.name, out))
        }
        _ => Ok(()),
    }
}

/// Whether a look-up was of a host or its service: an address that is looked up in reverse is no host to list.
fn is_host(name: &[u8]) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let below = |zone: &[u8]| {
        let end = name.len().checked_sub(zone.len()).and_then(|at| name.get(at..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(zone))
    };
    !host_of(name).is_empty() && !below(b".in-addr.arpa") && !below(b".ip6.arpa")
}

/// The host whose service a name is: `db.example` for `_mongodb._tcp.db.example`. An entry for it covers both.
fn host_of(mut name: &[u8]) -> &[u8] {
    while name.first() == Some(&b'_') {
        name = name
            .iter()
            .position(|byte| *byte == b'.')
            .and_then(|dot| name.get(dot + 1..))
            .unwrap_or_default();
    }
    name
}

/// `name:port`; the name alone where the buffer is too small.
fn with_port<'a>(name: &'a [u8], port: u16, buffer: &'a mut [u8]) -> &'a [u8] {
    let mut digits = [0; 5];
    let mut rest = port;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    let start = digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len() - 1);
    let digits = digits.get(start..).unwrap_or_default();
    let length = name.len() + 1 + digits.len();
    let Some(room) = buffer.get_mut(..length) else { return name };
    for (slot, byte) in room.iter_mut().zip(name.iter().chain(b":").chain(digits)) {
        *slot = *byte;
    }
    room
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Kind;
    use crate::record::testing::{MOMENT, line, scene};
    use crate::record::{Severity, Violation, severity_of};

    fn report(action: ActionKind, rule: Rule) -> Report<'static> {
        let mut report = Report::new(Kind::Violation, action);
        report.rule = rule;
        report
    }

    fn told(report: &Report<'_>) -> serde_json::Value {
        let redactor = Redactor::new(&[]);
        let line = line(&Violation::new(scene(&redactor), MOMENT, report));
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["ringfence"]["policyLine"].clone()
    }

    #[test]
    fn a_record_says_which_line_of_policy_would_allow_the_deed() {
        let mut exec = report(ActionKind::Exec, Rule::ProcessAllow);
        exec.path = b"/usr/bin/tr";
        insta::assert_snapshot!(told(&exec), @r#"{"key":"allow","section":"process","value":"/usr/bin/tr"}"#);
        exec.detail = b"/opt/coreutils/tr";
        insta::assert_snapshot!(told(&exec), @r#"{"key":"allow","section":"process","value":"/usr/bin/tr"}"#);
        exec.path = b"/usr/bin//tr";
        insta::assert_snapshot!(told(&exec), @r#"{"key":"allow","section":"process","value":"/opt/coreutils/tr"}"#);
        exec.detail = b"by way of /var/lang/lib/jspawnhelper";
        insta::assert_snapshot!(told(&exec), @r#"{"key":"allow","section":"process","value":"/var/lang/lib/jspawnhelper"}"#);
        let mut connect = report(ActionKind::Connect, Rule::EgressAllow);
        connect.address = Some("203.0.113.9:443".parse().unwrap());
        insta::assert_snapshot!(told(&connect), @r#"{"key":"allow","section":"egress","value":"203.0.113.9:443"}"#);
        connect.name = b"api.example.com";
        insta::assert_snapshot!(told(&connect), @r#"{"key":"allow","section":"egress","value":"api.example.com:443"}"#);
        connect.action = ActionKind::Resolve;
        insta::assert_snapshot!(told(&connect), @r#"{"key":"allow","section":"egress","value":"api.example.com"}"#);
        connect.rule = Rule::EgressNames;
        insta::assert_snapshot!(told(&connect), @r#"{"key":"allow","section":"egress","value":"api.example.com"}"#);
        connect.name = b"_mongodb._tcp.db.example";
        insta::assert_snapshot!(told(&connect), @r#"{"key":"allow","section":"egress","value":"db.example"}"#);
        for no_host in [&b"9.113.0.203.IN-ADDR.arpa"[..], b"1.0.ip6.arpa.", b"_tcp", b"_.", b""] {
            connect.name = no_host;
            assert!(told(&connect).is_null(), "{no_host:?}");
        }
        let mut bind = report(ActionKind::Bind, Rule::EgressListen);
        bind.address = Some("127.0.0.1:80".parse().unwrap());
        insta::assert_snapshot!(told(&bind), @r#"{"key":"listen","section":"egress","value":"loopback"}"#);
        let mut read = report(ActionKind::ReadCredential, Rule::CredentialsReads);
        read.name = b"AWS_SESSION_TOKEN";
        insta::assert_snapshot!(told(&read), @r#"{"key":"reads_allow_variables","section":"credentials","value":"AWS_SESSION_TOKEN"}"#);
        assert!(told(&report(ActionKind::Exec, Rule::ProcessShells)).is_null());
    }

    #[test]
    fn the_everyday_work_of_packages_is_low() {
        let mut exec = report(ActionKind::Exec, Rule::ProcessUncovered);
        exec.path = b"/sbin/ldconfig";
        assert_eq!(severity_of(&exec), Severity::High);
        exec.detail = b"asked for by ctypes.util.find_library";
        assert_eq!(severity_of(&exec), Severity::Low);
        exec.path = b"/usr/bin/x86_64-linux-gnu-gcc-12";
        assert_eq!(severity_of(&exec), Severity::Low);
        for other in [&b"/usr/bin/curl"[..], b"/tmp/ldconfig", b"ldconfig"] {
            exec.path = other;
            assert_eq!(severity_of(&exec), Severity::High);
        }
        let mut read = report(ActionKind::ReadCredential, Rule::CredentialsReads);
        read.detail = b"in a copy of the whole environment, by the package ddtrace";
        assert_eq!(severity_of(&read), Severity::Low);
        (read.name, read.detail) = (b"AWS_SESSION_TOKEN", b"");
        assert_eq!(severity_of(&read), Severity::Low);
        read.outcome = Outcome::Blocked;
        assert_eq!(severity_of(&read), Severity::Medium);
        (read.name, read.outcome) = (b"AWS_SECRET_ACCESS_KEY", Outcome::Reported);
        assert_eq!(severity_of(&read), Severity::Medium);
        read.detail = NATIVE;
        assert_eq!(severity_of(&read), Severity::Low);
        read.outcome = Outcome::Blocked;
        assert_eq!(severity_of(&read), Severity::Medium);
        let mut send = report(ActionKind::Send, Rule::EgressAllow);
        send.detail = TRACING;
        assert_eq!(severity_of(&send), Severity::Low);
    }
}
