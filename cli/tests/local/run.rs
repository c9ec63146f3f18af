//! Runs the program and reads what it prints. Decides nothing; called by every test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A function's directory and what the program is called with.
pub(crate) struct Function {
    pub(crate) directory: TempDir,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    events: usize,
}

/// What a run printed.
pub(crate) struct Seen {
    pub(crate) status: i32,
    pub(crate) lines: Vec<Value>,
    pub(crate) errors: String,
}

/// A Python function; its handler is `app.handler`.
pub(crate) fn python(code: &str) -> Function {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("code")).unwrap();
    fs::create_dir_all(directory.path().join("opt/extensions")).unwrap();
    fs::write(directory.path().join("code/app.py"), code).unwrap();
    Function { directory, arguments: Vec::new(), variables: Vec::new(), events: 0 }.with(&[
        "--handler",
        "app.handler",
        "--runtime",
        "python3",
        "--no-layer",
    ])
}

impl Function {
    /// Adds arguments. A second `--runtime` takes the place of the first.
    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        if arguments.contains(&"--runtime")
            && let Some(at) = self.arguments.iter().position(|a| a == "--runtime")
        {
            self.arguments.drain(at..at + 2);
        }
        self.arguments.extend(arguments.iter().map(|a| (*a).to_owned()));
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// A file beside the code; `opt/extensions/x` and `opt/wrapper` become part of a further layer.
    pub(crate) fn file(self, name: &str, text: &str, mode: u32) -> Self {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    pub(crate) fn event(mut self, json: &str) -> Self {
        let name = format!("event-{}.json", self.events);
        fs::write(self.directory.path().join(&name), json).unwrap();
        self.events += 1;
        self
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command.args([
            "local",
            "invoke",
            "--output",
            "json",
            "--code",
            &self.path("code"),
            "--opt",
            &self.path("opt"),
        ]);
        command.args(&self.arguments).envs(self.variables.iter().map(|(k, v)| (k, v)));
        command.args((0..self.events).map(|i| self.path(&format!("event-{i}.json"))));
        command
    }

    pub(crate) fn run(&self) -> Seen {
        Seen::read(&self.command().output().unwrap())
    }
}

impl Seen {
    pub(crate) fn read(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let lines =
            text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")));
        Self {
            status: output.status.code().unwrap_or(-1),
            lines: lines.collect(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) fn of_type(&self, kind: &str) -> Vec<&Value> {
        self.lines.iter().filter(|line| line["type"] == kind).collect()
    }

    /// The response lines, which must be as many as expected.
    pub(crate) fn responses<const N: usize>(&self) -> [&Value; N] {
        let responses = self.of_type("response");
        let count = responses.len();
        responses
            .try_into()
            .unwrap_or_else(|_| panic!("{count} responses: {:#?}\n{}", self.lines, self.errors))
    }

    /// The platform records with this name.
    pub(crate) fn platform(&self, event: &str) -> Vec<&Value> {
        let records = self.of_type("platform").into_iter().filter(|line| line["record"]["type"] == event);
        records.map(|line| &line["record"]["record"]).collect()
    }

    /// Everything that the function or an extension printed, as (type, requestId, record).
    pub(crate) fn printed(&self, kind: &str) -> Vec<(&Value, &Value)> {
        self.of_type(kind).into_iter().map(|line| (&line["requestId"], &line["record"])).collect()
    }
}

/// Directories of runs that are still there.
pub(crate) fn litter(directory: &Path) -> usize {
    let names = fs::read_dir(directory).unwrap().flatten();
    names.filter(|entry| entry.file_name().to_string_lossy().starts_with("ringfence-local-")).count()
}
