//! `ringfence init`: a first policy from the code that lies in a folder.
//!
//! It reads source files and lists of dependencies, bounded, and writes what it found as a policy that observes, each line
//! with the place that it comes from. It runs nothing. What a function really does, `ringfence learn` tells.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use ringfence_policy::{Endpoint, Policy};

use crate::policy::printed;

/// Most files that are read, and how much of each in bytes.
const MAX_FILES: usize = 5_000;
const MAX_BYTES: u64 = 512 * 1024;
/// Most hosts that are listed.
const MAX_HOSTS: usize = 64;
/// Folders that hold the code of others, or none.
const SKIPPED: [&str; 9] =
    ["node_modules", "site-packages", ".git", "target", "build", "dist", "vendor", "__pycache__", ".venv"];
/// Ends of names of files that are read.
const SOURCES: [&str; 12] = ["py", "js", "mjs", "cjs", "ts", "mts", "java", "kt", "go", "rs", "rb", "sh"];
/// What starts children, and what listens or writes below /tmp, in the languages that are read.
const CHILDREN: [&str; 12] = [
    "subprocess",
    "os.system(",
    "os.popen(",
    "os.exec",
    "os.spawn",
    "multiprocessing",
    "child_process",
    "ProcessBuilder",
    "Runtime.getRuntime().exec",
    "exec.Command(",
    "Command::new(",
    "Open3.",
];
/// How code names a client of an AWS service: what stands before the service's name.
const CLIENTS: [&str; 7] = [
    "client(\"",
    "client('",
    "resource(\"",
    "resource('",
    "@aws-sdk/client-",
    "awssdk.services.",
    "aws-sdk-go-v2/service/",
];

/// Write a first policy from the code in a folder.
///
/// It observes: attach the layer, look at the records, then let `ringfence learn` or an edit make it enforce.
///
/// Exit status: 0 written, 1 there is a policy already, 2 usage, 3 a file cannot be read or written.
///
/// Example: `ringfence init function/`
#[derive(Args)]
pub(crate) struct Command {
    /// The function's code
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Print the policy, and write nothing
    #[arg(long)]
    print: bool,
}

/// What was found, each with the first place where it stands.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    runtimes: BTreeMap<&'static str, String>,
    services: BTreeMap<String, String>,
    hosts: BTreeMap<String, String>,
    children: Option<String>,
    files: usize,
    /// Files that were left out: too many, too long, or not to be read.
    left_out: usize,
}

impl Command {
    /// Runs the command to its exit status.
    pub(crate) fn run(self) -> ExitCode {
        match self.write() {
            Ok(status) => status,
            Err(error) => {
                eprintln!("ringfence init: {error}");
                ExitCode::from(3)
            }
        }
    }

    fn write(&self) -> Result<ExitCode, String> {
        let folder = &self.folder;
        if !folder.is_dir() {
            return Err(format!("{}: no folder", folder.display()));
        }
        let mut found = Found::default();
        found.walk(folder, folder);
        let text = policy(&found);
        Policy::parse("the policy", &text).map_err(|findings| findings.to_string())?;
        if self.print {
            return Ok(printed(&text));
        }
        let file = folder.join("policy.toml");
        let created = fs::File::options().write(true).create_new(true).open(&file);
        match created.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes())) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                eprintln!(
                    "ringfence init: {} is there already and stays as it is\nhint: --print shows what would be written",
                    file.display()
                );
                return Ok(ExitCode::FAILURE);
            }
            Err(error) => return Err(format!("{}: {error}", file.display())),
        }
        println!("{} is written: it observes and blocks nothing", file.display());
        println!("read {} files, left out {}", found.files, found.left_out);
        for line in next_steps(&found) {
            println!("{line}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Found {
    fn walk(&mut self, root: &Path, folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else {
            self.left_out += 1;
            return;
        };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            // A link may lead out of the folder, or in a circle.
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                self.walk(root, &path);
            } else if kind.is_file() {
                self.file(root, &path, &name);
            }
        }
    }

    fn file(&mut self, root: &Path, path: &Path, name: &str) {
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        let runtime = match (name, end) {
            ("requirements.txt" | "pyproject.toml", _) | (_, "py") => Some("Python"),
            ("package.json", _) | (_, "js" | "mjs" | "cjs" | "ts" | "mts") => Some("Node"),
            ("pom.xml" | "build.gradle", _) | (_, "java" | "kt") => Some("Java"),
            ("go.mod", _) | (_, "go") => Some("Go"),
            ("Cargo.toml", _) | (_, "rs") => Some("Rust"),
            ("Gemfile", _) | (_, "rb") => Some("Ruby"),
            ("bootstrap", _) => Some("a runtime of its own"),
            _ => None,
        };
        let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
        if let Some(runtime) = runtime {
            self.runtimes.entry(runtime).or_insert_with(|| shown.clone());
        }
        if !SOURCES.contains(&end) && name != "bootstrap" {
            return;
        }
        let read = || -> io::Result<String> {
            let mut bytes = Vec::new();
            fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        match read() {
            Ok(text) if self.files < MAX_FILES && text.len() as u64 <= MAX_BYTES => {
                self.files += 1;
                self.source(&shown, &text);
            }
            _ => self.left_out += 1,
        }
    }

    fn source(&mut self, file: &str, text: &str) {
        for (number, line) in text.lines().enumerate() {
            let place = || format!("{file}:{}", number + 1);
            let code = line.trim_start();
            if code.starts_with('#') || code.starts_with("//") {
                continue;
            }
            if self.children.is_none() && CHILDREN.iter().any(|word| code.contains(word)) {
                self.children = Some(place());
            }
            for client in CLIENTS {
                for (at, _) in code.match_indices(client) {
                    let service: String = code
                        .get(at + client.len()..)
                        .unwrap_or_default()
                        .chars()
                        .take_while(|character| character.is_ascii_alphanumeric() || *character == '-')
                        .take(40)
                        .collect();
                    if !service.is_empty() {
                        self.services.entry(service.to_lowercase()).or_insert_with(place);
                    }
                }
            }
            for host in hosts(code) {
                if self.hosts.len() < MAX_HOSTS {
                    self.hosts.entry(host).or_insert_with(place);
                }
            }
        }
    }
}

/// Hosts in addresses of the web that stand in a line, with their ports.
fn hosts(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (scheme, port) in [("https://", 443), ("http://", 80)] {
        for (at, _) in line.match_indices(scheme) {
            let rest = line.get(at + scheme.len()..).unwrap_or_default();
            let end = rest
                .find(|character: char| !(character.is_ascii_alphanumeric() || ".-:".contains(character)));
            let host =
                rest.get(..end.unwrap_or(rest.len())).unwrap_or_default().trim_end_matches(['.', ':', '-']);
            // A host that the code puts together is not known.
            let is_whole = !end
                .and_then(|end| rest.get(end..))
                .is_some_and(|rest| rest.starts_with(['{', '$', '%', '<', '@']));
            let entry = if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") };
            let is_local = host.starts_with("localhost") || host.starts_with("127.") || !host.contains('.');
            if is_whole && !is_local && Endpoint::new(&entry).is_some() {
                found.push(entry);
            }
        }
    }
    found
}

fn policy(found: &Found) -> String {
    let runtimes: Vec<&str> = found.runtimes.keys().copied().collect();
    let of = if runtimes.is_empty() { String::new() } else { format!(" for {}", runtimes.join(" and ")) };
    let mut lines = vec![
        format!("# A first policy{of}, made by `ringfence init` from the code. It observes: nothing is blocked."),
        "# Run the function with it, or with RINGFENCE_POLICY=learn and `ringfence learn`; then write mode = \"enforce\".".to_owned(),
        "version = 1".to_owned(),
    ];
    match &found.children {
        None => lines.push("extends = \"web-api\"  # no child processes were found in the code".to_owned()),
        Some(place) => {
            lines.push(format!("extends = \"baseline\"  # the code starts children: {place}"));
        }
    }
    lines.push("mode = \"observe\"".to_owned());
    if found.children.is_some() {
        lines.push("\n[process]".to_owned());
        lines.push(
            "# allow = [\"/usr/bin/…\"]  # the programs that children may be; `ringfence learn` lists them"
                .to_owned(),
        );
        lines.push("survivors = \"report\"".to_owned());
    }
    lines.push("\n[egress]\nallow = [".to_owned());
    if !found.services.is_empty() {
        let services: Vec<String> =
            found.services.iter().map(|(service, place)| format!("{service} ({place})")).collect();
        lines.push(format!("    # Clients of AWS: {}.", services.join(", ")));
        lines.push("    \"*.amazonaws.com:443\",".to_owned());
    }
    for (host, place) in &found.hosts {
        lines.push(format!("    {},  # {place}", toml_edit::Value::from(host.as_str())));
    }
    lines.push("]".to_owned());
    lines.push("\n[credentials]\nreads = \"report\"".to_owned());
    format!("{}\n", lines.join("\n"))
}

fn next_steps(found: &Found) -> Vec<String> {
    let mut lines = Vec::new();
    if found.services.is_empty() && found.hosts.is_empty() {
        lines.push("no hosts were found in the code: the list of destinations is empty".to_owned());
    }
    lines.push("next: ringfence check policy.toml; then docs/attach.md".to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(files: &[(&str, &str)]) -> Found {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut found = Found::default();
        found.walk(folder.path(), folder.path());
        found
    }

    #[test]
    fn a_policy_says_where_each_line_comes_from() {
        let found = found(&[
            (
                "app.py",
                "import boto3\ns3 = boto3.client(\"s3\")\nURL = 'https://api.example.com/v1'\n# https://comment.example\n",
            ),
            (
                "lib/pay.py",
                "requests.get(f\"https://{host}/\")\nrequests.post('http://pay.example.org:8080/x', 'http://localhost:3000')\n",
            ),
            ("node_modules/x/index.js", "fetch('https://other.example')"),
            ("requirements.txt", "boto3\n"),
        ]);
        insta::assert_snapshot!(policy(&found), @r#"
        # A first policy for Python, made by `ringfence init` from the code. It observes: nothing is blocked.
        # Run the function with it, or with RINGFENCE_POLICY=learn and `ringfence learn`; then write mode = "enforce".
        version = 1
        extends = "web-api"  # no child processes were found in the code
        mode = "observe"

        [egress]
        allow = [
            # Clients of AWS: s3 (app.py:2).
            "*.amazonaws.com:443",
            "api.example.com:443",  # app.py:3
            "pay.example.org:8080",  # lib/pay.py:2
        ]

        [credentials]
        reads = "report"
        "#);
    }

    #[test]
    fn a_function_that_starts_children_is_not_told_to_have_none() {
        let found = found(&[(
            "index.mjs",
            "import { spawn } from 'node:child_process';\nimport { S3Client } from '@aws-sdk/client-s3';\n",
        )]);
        insta::assert_snapshot!(policy(&found), @r#"
        # A first policy for Node, made by `ringfence init` from the code. It observes: nothing is blocked.
        # Run the function with it, or with RINGFENCE_POLICY=learn and `ringfence learn`; then write mode = "enforce".
        version = 1
        extends = "baseline"  # the code starts children: index.mjs:1
        mode = "observe"

        [process]
        # allow = ["/usr/bin/…"]  # the programs that children may be; `ringfence learn` lists them
        survivors = "report"

        [egress]
        allow = [
            # Clients of AWS: s3 (index.mjs:2).
            "*.amazonaws.com:443",
        ]

        [credentials]
        reads = "report"
        "#);
    }

    #[test]
    fn a_policy_that_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("policy.toml"), "version = 1\n").unwrap();
        let command = Command { folder: folder.path().to_owned(), print: false };
        assert_eq!(command.write(), Ok(ExitCode::FAILURE));
        assert_eq!(fs::read_to_string(folder.path().join("policy.toml")).unwrap(), "version = 1\n");
        assert!(Command { folder: "/nonexistent".into(), print: true }.write().is_err());
    }

    proptest! {
        #[test]
        fn whatever_the_code_is_the_policy_is_one(text in "(\\PC|https://|client\\(\"|\n){0,60}") {
            let mut found = Found::default();
            found.source("a.py", &text);
            let policy = policy(&found);
            prop_assert!(Policy::parse("policy.toml", &policy).is_ok(), "{}", policy);
        }
    }
}
