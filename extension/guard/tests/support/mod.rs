//! Builds the helper programs, and runs commands behind the guard as an unprivileged user.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// What stands in for the platform (see `programs/outer.c`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// What the kernel has.
    Open,
    /// Numbers from 425 on and prctl are refused, seccomp(2) is not.
    Nested,
    /// seccomp(2) is refused too: today's Lambda.
    Strict,
}

impl Profile {
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Nested => "nested",
            Self::Strict => "strict",
        }
    }
}

/// The profiles with a kernel plane.
pub const KERNEL: [Profile; 2] = [Profile::Open, Profile::Nested];

/// A folder that every user can reach, with the guard (mode 0711, as in the layer) and the helper programs.
pub fn bench() -> &'static Path {
    static BENCH: OnceLock<PathBuf> = OnceLock::new();
    BENCH.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("ringfence-guard-").tempdir().unwrap().keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let guard = folder.join("ringfence-exec");
        fs::copy(env!("CARGO_BIN_EXE_ringfence-exec"), &guard).unwrap();
        fs::set_permissions(&guard, fs::Permissions::from_mode(0o711)).unwrap();
        for program in ["outer", "mark", "race", "escape", "hidden", "signals", "others"] {
            compile(program, &folder.join(program));
        }
        for script in ["benign.py", "agent.py", "files.py", "interrupted.py"] {
            fs::copy(source("programs").join(script), folder.join(script)).unwrap();
        }
        let hook = folder.join("ringfence/node");
        fs::create_dir_all(&hook).unwrap();
        fs::write(hook.join("ringfence.cjs"), "").unwrap();
        // Any program of this name is Node to the guard.
        fs::copy("/bin/bash", folder.join("node")).unwrap();
        fs::create_dir(folder.join("policies")).unwrap();
        // Mounted with the policies, as EFS would be.
        fs::copy("/bin/echo", folder.join("policies/echo")).unwrap();
        for policy in ["degraded", "off", "others", "procfs", "races", "tools", "unruled", "writes"] {
            let name = format!("{policy}.toml");
            fs::copy(source("policies").join(&name), folder.join("policies").join(&name)).unwrap();
        }
        folder
    })
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn compile(program: &str, to: &Path) {
    let status = Command::new("gcc")
        .args(["-O1", "-static", "-pthread", "-o"])
        .arg(to)
        .arg(source(&format!("programs/{program}.c")))
        .status()
        .expect("gcc, which the tests need for their static helper programs");
    assert!(status.success(), "{program}.c");
}

/// A policy of the tests, where `programs/outer.c` lays it: the guard takes none from /tmp.
pub fn policy_path(name: &str) -> PathBuf {
    PathBuf::from(format!("/mnt/{name}.toml"))
}

/// A command without the guard, in the same surroundings.
pub fn without(profile: Profile, command: &[&str]) -> Command {
    let mut outer = Command::new(bench().join("outer"));
    outer.arg(profile.name()).args(command.iter().map(|word| local(word))).current_dir("/").env_clear();
    outer.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    outer
}

/// A command behind the guard.
pub fn guarded(profile: Profile, policy: &str, command: &[&str]) -> Command {
    let mut words = vec!["@ringfence-exec"];
    words.extend(command);
    let mut outer = without(profile, &words);
    outer.env("RINGFENCE_POLICY", policy_path(policy));
    outer
}

/// A command behind the guard, in profile `open` on a kernel without these features (see `programs/outer.c`).
pub fn guarded_lacking(missing: &[&str], policy: &str, command: &[&str]) -> Command {
    let mut outer = Command::new(bench().join("outer"));
    outer.arg(format!("open,{}", missing.join(","))).arg(bench().join("ringfence-exec"));
    outer.args(command.iter().map(|word| local(word))).current_dir("/").env_clear();
    outer.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("RINGFENCE_POLICY", policy_path(policy));
    outer
}

/// `@name` is a file of the bench.
fn local(word: &str) -> String {
    word.strip_prefix('@')
        .map_or_else(|| word.to_owned(), |name| bench().join(name).to_string_lossy().into_owned())
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The lines of standard error that are violations.
pub fn violations(output: &Output) -> Vec<String> {
    let lines = text(&output.stderr);
    lines.lines().filter(|line| line.contains(r#""kind":"violation""#)).map(str::to_owned).collect()
}

/// Whether seccomp notification can be had here at all; the tests of the kernel plane need it.
pub fn has_kernel_plane() -> bool {
    let output = guarded(Profile::Open, "races", &["/bin/cat", "/proc/self/status"]).output().unwrap();
    text(&output.stdout).contains("Seccomp:\t2")
}

/// From Linux 5.19 a signal ends a call only before the guard has taken it up. Earlier ones are in docs/kernel-plane.md.
pub fn signals_wait() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(19))
}
