//! What runtime and extensions are started with: commands and environments, as Lambda gives them.
//!
//! Decides which variable goes to whom (extensions get nothing that begins with `_`, no `LAMBDA_TASK_ROOT`,
//! no `LAMBDA_RUNTIME_DIR` and no log group; `AWS_EXECUTION_ENV` is the bootstrap's to set). Must not know how processes are started. Called by the life cycle.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::credentials::CREDENTIALS;
use super::state::Settings;
use crate::options::Profile;
use crate::sandbox::plan::StartPlan;

/// Where the X-Ray daemon is when the APIs are on loopback; otherwise it is beside them.
const XRAY_DAEMON: &str = "169.254.79.129";
const XRAY_PORT: &str = "2000";
const PATH: &str = "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin";
const LIBRARIES: &str =
    "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib";

/// Everything that it takes to start an environment.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) extensions: Vec<String>,
    pub(crate) runtime: Vec<String>,
    pub(crate) profile: Profile,
    /// Where the APIs are.
    pub(crate) api: SocketAddr,
    /// What proves to the metadata API that a process of the environment asks.
    pub(crate) metadata_token: String,
    /// Whether the runtime is a managed one, whose own directories are on the search paths.
    pub(crate) managed_runtime: bool,
    /// Whether the function is an image.
    pub(crate) image: bool,
    /// The number of the log descriptor, when the platform has one.
    pub(crate) log_fd: Option<u16>,
    /// The function's configuration, which goes to all processes and over everything.
    pub(crate) customer_env: Vec<(String, String)>,
}

impl Launch {
    /// How an extension is started: its file, no arguments.
    pub(crate) fn extension(&self, name: &str, settings: &Settings) -> StartPlan {
        let env = self.common(settings);
        self.plan(vec![format!("/opt/extensions/{name}")], "/", env, None)
    }

    /// How the runtime is started.
    pub(crate) fn runtime(&self, settings: &Settings) -> StartPlan {
        let mut env = self.common(settings);
        let group = format!("/aws/lambda/{}", settings.function);
        for (name, value) in [
            ("LAMBDA_TASK_ROOT", "/var/task"),
            ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", group.as_str()),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[$LATEST]00000000000000000000000000000000"),
        ] {
            env.insert(name.into(), value.into());
        }
        let daemon = self.xray_daemon();
        env.insert("_AWS_XRAY_DAEMON_ADDRESS".into(), daemon);
        env.insert("_AWS_XRAY_DAEMON_PORT".into(), XRAY_PORT.into());
        // An image's handler is an argument of its command; the base images' entry point makes it a variable.
        if !self.image {
            env.insert("_HANDLER".into(), settings.handler.clone());
        }
        if let Some(number) = self.log_fd {
            env.insert("_LAMBDA_TELEMETRY_LOG_FD".into(), number.to_string());
        }
        if settings.managed {
            env.insert("AWS_LAMBDA_MAX_CONCURRENCY".into(), settings.concurrency.to_string());
            // The only format that there is on Managed Instances.
            env.insert("AWS_LAMBDA_LOG_FORMAT".into(), "JSON".into());
        }
        env.extend(self.customer_env.iter().cloned());
        self.plan(self.runtime.clone(), "/var/task", env, self.log_fd)
    }

    fn xray_daemon(&self) -> String {
        if self.api.ip().is_loopback() { XRAY_DAEMON.into() } else { self.api.ip().to_string() }
    }

    fn common(&self, settings: &Settings) -> BTreeMap<String, String> {
        let kind = if settings.managed { "lambda-managed-instances" } else { "on-demand" };
        let memory = settings.memory_mb.to_string();
        let api = self.api.to_string();
        let xray = format!("{}:{XRAY_PORT}", self.xray_daemon());
        let without_lang = |list: &'static str| list.split_once(':').map_or(list, |(_, rest)| rest);
        let (path, libraries) = if self.managed_runtime {
            (PATH, LIBRARIES)
        } else {
            (without_lang(PATH), without_lang(LIBRARIES))
        };
        let fixed = [
            ("AWS_LAMBDA_RUNTIME_API", api.as_str()),
            ("AWS_LAMBDA_METADATA_API", &api),
            ("AWS_LAMBDA_METADATA_TOKEN", &self.metadata_token),
            ("AWS_LAMBDA_FUNCTION_NAME", &settings.function),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &memory),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", kind),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR"),
            ("AWS_XRAY_DAEMON_ADDRESS", &xray),
            ("LANG", "en_US.UTF-8"),
            ("TZ", if self.image { ":/etc/localtime" } else { ":UTC" }),
            ("PATH", path),
            ("LD_LIBRARY_PATH", libraries),
        ];
        let mut env: BTreeMap<String, String> =
            fixed.iter().chain(CREDENTIALS).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        env.extend(self.customer_env.iter().filter(|(name, _)| !name.starts_with('_')).cloned());
        env
    }

    fn plan(
        &self,
        argv: Vec<String>,
        cwd: &str,
        env: BTreeMap<String, String>,
        log_fd: Option<u16>,
    ) -> StartPlan {
        StartPlan { argv, env: env.into_iter().collect(), cwd: cwd.into(), profile: self.profile, log_fd }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings() -> Settings {
        Settings {
            function: "f".into(),
            handler: "app.handler".into(),
            memory_mb: 128,
            timeout: Duration::from_secs(1),
            concurrency: 1,
            managed: false,
            runtime_version: String::new(),
        }
    }

    fn launch(managed_runtime: bool, image: bool, api: &str) -> Launch {
        Launch {
            extensions: vec![],
            runtime: vec!["/var/runtime/bootstrap".into()],
            profile: Profile::Strict,
            api: api.parse().unwrap(),
            metadata_token: "t".into(),
            managed_runtime,
            image,
            log_fd: managed_runtime.then_some(62),
            customer_env: vec![("STAGE".into(), "prod".into()), ("_HIDDEN".into(), "x".into())],
        }
    }

    fn shown(plan: &StartPlan) -> String {
        let hidden = |(name, value): &(String, String)| {
            let value = if CREDENTIALS.iter().any(|(n, _)| n == name) { "…" } else { value };
            format!("{name}={value}")
        };
        plan.env.iter().map(hidden).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn an_extension_has_the_credentials_but_nothing_of_the_runtime() {
        let extension = launch(true, false, "127.0.0.1:9001").extension("e", &settings());
        insta::assert_snapshot!(shown(&extension), @r"
        AWS_ACCESS_KEY_ID=…
        AWS_DEFAULT_REGION=eu-west-1
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128
        AWS_LAMBDA_FUNCTION_NAME=f
        AWS_LAMBDA_FUNCTION_VERSION=$LATEST
        AWS_LAMBDA_INITIALIZATION_TYPE=on-demand
        AWS_LAMBDA_METADATA_API=127.0.0.1:9001
        AWS_LAMBDA_METADATA_TOKEN=t
        AWS_LAMBDA_RUNTIME_API=127.0.0.1:9001
        AWS_REGION=eu-west-1
        AWS_SECRET_ACCESS_KEY=…
        AWS_SESSION_TOKEN=…
        AWS_XRAY_CONTEXT_MISSING=LOG_ERROR
        AWS_XRAY_DAEMON_ADDRESS=169.254.79.129:2000
        LANG=en_US.UTF-8
        LD_LIBRARY_PATH=/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib
        PATH=/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin
        STAGE=prod
        TZ=:UTC
        ");
        assert_eq!(extension.log_fd, None);
    }

    #[test]
    fn a_managed_runtime_has_all_of_it() {
        let runtime = launch(true, false, "169.254.100.1:9001").runtime(&settings());
        insta::assert_snapshot!(shown(&runtime), @r"
        AWS_ACCESS_KEY_ID=…
        AWS_DEFAULT_REGION=eu-west-1
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128
        AWS_LAMBDA_FUNCTION_NAME=f
        AWS_LAMBDA_FUNCTION_VERSION=$LATEST
        AWS_LAMBDA_INITIALIZATION_TYPE=on-demand
        AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/f
        AWS_LAMBDA_LOG_STREAM_NAME=2026/01/01/[$LATEST]00000000000000000000000000000000
        AWS_LAMBDA_METADATA_API=169.254.100.1:9001
        AWS_LAMBDA_METADATA_TOKEN=t
        AWS_LAMBDA_RUNTIME_API=169.254.100.1:9001
        AWS_REGION=eu-west-1
        AWS_SECRET_ACCESS_KEY=…
        AWS_SESSION_TOKEN=…
        AWS_XRAY_CONTEXT_MISSING=LOG_ERROR
        AWS_XRAY_DAEMON_ADDRESS=169.254.100.1:2000
        LAMBDA_RUNTIME_DIR=/var/runtime
        LAMBDA_TASK_ROOT=/var/task
        LANG=en_US.UTF-8
        LD_LIBRARY_PATH=/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib
        PATH=/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin
        STAGE=prod
        TZ=:UTC
        _AWS_XRAY_DAEMON_ADDRESS=169.254.100.1
        _AWS_XRAY_DAEMON_PORT=2000
        _HANDLER=app.handler
        _HIDDEN=x
        _LAMBDA_TELEMETRY_LOG_FD=62
        ");
        assert_eq!((runtime.cwd.as_str(), runtime.log_fd), ("/var/task", Some(62)));
    }

    #[test]
    fn a_runtime_of_the_functions_own_has_no_interpreter_on_its_paths() {
        let image = launch(false, true, "127.0.0.1:9001").runtime(&settings());
        let value = |name: &str| image.env.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        assert_eq!(value("PATH"), Some("/usr/local/bin:/usr/bin/:/bin:/opt/bin"));
        assert_eq!((value("TZ"), value("_HANDLER")), (Some(":/etc/localtime"), None));
        assert_eq!((value("_LAMBDA_TELEMETRY_LOG_FD"), image.log_fd), (None, None));
    }
}
