//! What the platform tells the agent in its environment, read once at the start.
//!
//! It decides nothing but defaults. Only `main` makes one from the real environment; tests make their own.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ringfence_policy::trouble_with_variable;
use ringfence_records::message;

/// Variables whose values never appear in a record, besides those that hold the role's credentials by name.
const SECRET_WORDS: [&str; 7] = ["SECRET", "TOKEN", "PASSWORD", "PASSWD", "API_KEY", "APIKEY", "PRIVATE_KEY"];
/// Credential variables of the platform.
const CREDENTIALS: [&str; 4] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"];
/// Most values that are masked by value; more would make redaction slow.
const MAX_SECRETS: usize = 24;
/// Most variables of which something wrong is told.
const MAX_TROUBLE: usize = 8;

/// The agent's surroundings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Address of the Extensions API as the platform wrote it: the guard derives the control socket's name from it.
    pub(crate) api: String,
    /// The name under which the platform expects the registration: that of the executable.
    pub(crate) name: String,
    /// `AWS_LAMBDA_INITIALIZATION_TYPE`.
    pub(crate) initialization: String,
    /// Whether `AWS_LAMBDA_MAX_CONCURRENCY` is set.
    concurrent: bool,
    /// `RINGFENCE_POLICY`.
    pub(crate) policy: Option<String>,
    /// `RINGFENCE_ON_ERROR`.
    pub(crate) on_error: Option<String>,
    /// `RINGFENCE=off`.
    pub(crate) off: bool,
    /// `RINGFENCE_LOG`.
    pub(crate) log: Option<String>,
    /// What is wrong with the variables by which the user sets Ringfence.
    pub(crate) trouble: Vec<String>,
    /// Values that are masked wherever they appear.
    pub(crate) secrets: Vec<Vec<u8>>,
    /// The directory that outlives invocations.
    pub(crate) tmp: PathBuf,
}

impl Settings {
    /// Reads the variables. `argument` is the first of the command line.
    pub(crate) fn new(
        variables: impl Iterator<Item = (OsString, OsString)>,
        argument: Option<&OsString>,
    ) -> Self {
        let mut settings = Self {
            api: String::new(),
            name: name_of(argument),
            initialization: "on-demand".to_owned(),
            concurrent: false,
            policy: None,
            on_error: None,
            off: false,
            log: None,
            trouble: Vec::new(),
            secrets: Vec::new(),
            tmp: PathBuf::from("/tmp"),
        };
        for (name, value) in variables {
            settings.take(&name.to_string_lossy(), &value);
        }
        settings
    }

    fn take(&mut self, name: &str, value: &OsString) {
        if is_secret(name) && self.secrets.len() < MAX_SECRETS {
            self.secrets.push(value.clone().into_encoded_bytes());
        }
        let text = value.to_string_lossy().into_owned();
        if self.trouble.len() < MAX_TROUBLE {
            self.trouble.extend(trouble_with_variable(name, &text));
        }
        match name {
            "RINGFENCE" => self.off = text == "off",
            "RINGFENCE_LOG" => self.log = Some(text),
            "AWS_LAMBDA_RUNTIME_API" => self.api = text,
            "AWS_LAMBDA_INITIALIZATION_TYPE" => self.initialization = text,
            "AWS_LAMBDA_MAX_CONCURRENCY" => self.concurrent = true,
            "RINGFENCE_POLICY" => self.policy = Some(text),
            "RINGFENCE_ON_ERROR" => self.on_error = Some(text),
            _ => {}
        }
    }

    /// Whether many invocations run in this environment at once and none of them is told to extensions.
    pub(crate) fn is_managed(&self) -> bool {
        self.concurrent || self.initialization == "lambda-managed-instances"
    }

    /// The address of the Runtime API, if it is written as one.
    pub(crate) fn api_address(&self) -> Option<SocketAddr> {
        message::address_of_api(&self.api)
    }

    /// The host part of it.
    pub(crate) fn api_host(&self) -> Option<IpAddr> {
        self.api_address().map(|address| address.ip())
    }
}

fn name_of(argument: Option<&OsString>) -> String {
    let name = argument.map(Path::new).and_then(Path::file_name);
    name.map_or_else(|| "ringfence".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn is_secret(name: &str) -> bool {
    CREDENTIALS.contains(&name) || SECRET_WORDS.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part that the variable cannot name could never be turned on alone.
    #[test]
    fn each_part_that_writes_to_the_log_can_be_named_in_the_variable() {
        fn parts(folder: &Path, found: &mut std::collections::BTreeSet<String>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    parts(&path, found);
                } else {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let targets = text.split("target: \"").skip(1).filter_map(|rest| rest.split('"').next());
                    found.extend(
                        targets.filter(|word| word.chars().all(char::is_alphabetic)).map(str::to_owned),
                    );
                }
            }
        }
        let mut found = std::collections::BTreeSet::new();
        for sources in ["src", "../../cli/src", "../../local/src"] {
            parts(&Path::new(env!("CARGO_MANIFEST_DIR")).join(sources), &mut found);
        }
        assert!(found.iter().eq(ringfence_policy::LOG_PARTS), "{found:?}");
    }

    #[test]
    fn the_environment_is_read_once() {
        let variables = [
            ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances"),
            ("AWS_SECRET_ACCESS_KEY", "secret-value"),
            ("STRIPE_API_KEY", "another"),
            ("HOME", "/root"),
            ("RINGFENCE_ON_ERROR", "banana"),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let settings = Settings::new(variables.into_iter(), Some(&"/opt/extensions/ringfence".into()));
        assert_eq!(settings.name, "ringfence");
        assert!(settings.is_managed());
        assert_eq!(settings.secrets, [b"secret-value".to_vec(), b"another".to_vec()]);
        assert_eq!(settings.trouble.len(), 1, "{:?}", settings.trouble);
        assert_eq!(settings.api_address(), Some(([127, 0, 0, 1], 9001).into()));
    }
}
