//! Node: the `node` on PATH, with the real runtime client `aws-lambda-ric` from npm.
//!
//! Decides which version of the client fits and what its build needs. It is built on first use, once a Node version.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{RuntimeSetup, cache, cached, visible, write_bootstrap};
use crate::error::LocalError;
use crate::sandbox::plan::Lang;

/// Changes with the content of the cached directory, so that an old cache is not used.
const CACHE_REVISION: u32 = 1;
/// The client's native part is compiled with these.
const TOOLS: &[&str] = &["npm", "cmake", "g++", "make", "autoconf", "automake", "libtoolize"];
/// Prints the executable, the major version and the machine, a line each.
const PROBE: &str = "console.log(require('fs').realpathSync(process.execPath)); \
    console.log(process.versions.node.split('.')[0]); console.log(process.arch)";

struct Interpreter {
    executable: PathBuf,
    major: u32,
    machine: String,
}

pub(super) fn prepare() -> Result<RuntimeSetup, LocalError> {
    let node = probe()?;
    let directory = cache()?.join(format!("node{}-{}-r{CACHE_REVISION}", node.major, node.machine));
    cached(&directory, |fresh| install(&node, fresh))?;
    let modules = format!(
        "/opt/nodejs/node{}/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime:/var/task",
        node.major
    );
    Ok(RuntimeSetup {
        directory,
        lang: lang(&node),
        argv: vec!["/var/runtime/bootstrap".into()],
        execution_env: format!("AWS_Lambda_nodejs{}.x", node.major),
        version: format!("nodejs:{}.local", node.major),
        env: vec![("NODE_PATH".into(), modules)],
        honours_wrapper: true,
    })
}

fn probe() -> Result<Interpreter, LocalError> {
    let failed = |reason: &str| LocalError::environment("find node", reason);
    let output = Command::new("node")
        .args(["-e", PROBE])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| failed(&format!("{e}; install Node.js 20 or later")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines();
    match (lines.next(), lines.next().and_then(|major| major.parse().ok()), lines.next()) {
        (Some(executable), Some(major), Some(machine)) => {
            Ok(Interpreter { executable: executable.into(), major, machine: machine.to_owned() })
        }
        _ => Err(failed(String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// The prefix is two levels above the program.
fn lang(node: &Interpreter) -> Lang {
    let prefix = node.executable.parent().and_then(Path::parent);
    match prefix {
        Some(prefix) if !visible(&node.executable) => Lang::Prefix(prefix.to_path_buf()),
        _ => Lang::Links(vec![("node".into(), node.executable.clone())]),
    }
}

fn install(node: &Interpreter, fresh: &Path) -> Result<(), LocalError> {
    let missing: Vec<&str> = TOOLS.iter().copied().filter(|tool| !runs(tool)).collect();
    if !missing.is_empty() {
        let list = missing.join(", ");
        return Err(LocalError::environment("build aws-lambda-ric", format!("missing: {list}")));
    }
    // 3.3 is the last that runs on Node 20; 4 has its entry point elsewhere.
    let (version, entry) = if node.major < 22 { ("3.3.0", "bin/index.mjs") } else { ("4", "index.mjs") };
    let output = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
        .arg(fresh)
        .arg(format!("aws-lambda-ric@{version}"))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| LocalError::environment("run npm", e))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(LocalError::environment("build aws-lambda-ric with npm", errors.trim()));
    }
    let client = format!("/var/runtime/node_modules/aws-lambda-ric/{entry}");
    write_bootstrap(fresh, &format!("/var/lang/bin/node {client} \"$_HANDLER\""))
}

fn runs(tool: &str) -> bool {
    Command::new(tool)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}
