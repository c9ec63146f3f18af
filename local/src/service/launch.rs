//! What runtime and extensions are started with: commands and environments, as Lambda gives them.
//!
//! Decides which variable goes to whom (extensions get nothing that begins with `_`, no `AWS_EXECUTION_ENV`, no
//! `LAMBDA_TASK_ROOT` and no log group). Must not know how processes are started. Called by the life cycle.

use std::collections::BTreeMap;

use super::state::Settings;
use crate::options::Profile;
use crate::sandbox::plan::StartPlan;

/// Credentials that open nothing and can be recognised wherever they turn up.
const CREDENTIALS: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "ASIARINGFENCELOCAL00"),
    ("AWS_SECRET_ACCESS_KEY", "ringfence/local/secret/access/key/000000"),
    ("AWS_SESSION_TOKEN", "RINGFENCE-LOCAL-SESSION-TOKEN-0000000000"),
];

/// Everything that it takes to start an environment.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) extensions: Vec<String>,
    pub(crate) runtime: Vec<String>,
    pub(crate) execution_env: String,
    pub(crate) profile: Profile,
    /// host:port of the APIs.
    pub(crate) api: String,
    /// Variables that runtimes of this kind have besides the common ones.
    pub(crate) runtime_env: Vec<(String, String)>,
    /// The function's configuration, which goes to everybody and over everything.
    pub(crate) customer_env: Vec<(String, String)>,
}

impl Launch {
    /// How an extension is started: its file, no arguments.
    pub(crate) fn extension(&self, name: &str, settings: &Settings) -> StartPlan {
        let env = self.common(settings);
        self.plan(vec![format!("/opt/extensions/{name}")], "/", env)
    }

    /// How the runtime is started.
    pub(crate) fn runtime(&self, settings: &Settings) -> StartPlan {
        let mut env = self.common(settings);
        let group = format!("/aws/lambda/{}", settings.function);
        for (name, value) in [
            ("_HANDLER", settings.handler.as_str()),
            ("AWS_EXECUTION_ENV", &self.execution_env),
            ("LAMBDA_TASK_ROOT", "/var/task"),
            ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", &group),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[$LATEST]00000000000000000000000000000000"),
        ] {
            env.insert(name.into(), value.into());
        }
        if settings.managed {
            env.insert("AWS_LAMBDA_MAX_CONCURRENCY".into(), settings.concurrency.to_string());
            // The only format that there is on Managed Instances.
            env.insert("AWS_LAMBDA_LOG_FORMAT".into(), "JSON".into());
        }
        env.extend(self.runtime_env.iter().cloned());
        env.extend(self.customer_env.iter().cloned());
        self.plan(self.runtime.clone(), "/var/task", env)
    }

    fn common(&self, settings: &Settings) -> BTreeMap<String, String> {
        let kind = if settings.managed { "lambda-managed-instances" } else { "on-demand" };
        let memory = settings.memory_mb.to_string();
        let fixed = [
            ("AWS_LAMBDA_RUNTIME_API", self.api.as_str()),
            ("AWS_LAMBDA_FUNCTION_NAME", &settings.function),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &memory),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", kind),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR"),
            ("LANG", "en_US.UTF-8"),
            ("TZ", ":UTC"),
            ("PATH", "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"),
            (
                "LD_LIBRARY_PATH",
                "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
            ),
        ];
        let mut env: BTreeMap<String, String> =
            fixed.iter().chain(CREDENTIALS).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        env.extend(self.customer_env.iter().filter(|(name, _)| !name.starts_with('_')).cloned());
        env
    }

    fn plan(&self, argv: Vec<String>, cwd: &str, env: BTreeMap<String, String>) -> StartPlan {
        StartPlan { argv, env: env.into_iter().collect(), cwd: cwd.into(), profile: self.profile }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn names(plan: &StartPlan) -> Vec<&str> {
        plan.env.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn an_extension_has_the_credentials_but_nothing_of_the_runtime() {
        let settings = Settings {
            function: "f".into(),
            handler: "app.handler".into(),
            memory_mb: 128,
            timeout: Duration::from_secs(1),
            concurrency: 1,
            managed: false,
            runtime_version: String::new(),
        };
        let launch = Launch {
            extensions: vec![],
            runtime: vec!["/var/runtime/bootstrap".into()],
            execution_env: "AWS_Lambda_python3.11".into(),
            profile: Profile::Strict,
            api: "127.0.0.1:9001".into(),
            runtime_env: vec![],
            customer_env: vec![("STAGE".into(), "prod".into()), ("_HIDDEN".into(), "x".into())],
        };
        let extension = launch.extension("e", &settings);
        let seen = names(&extension);
        assert!(seen.contains(&"AWS_SESSION_TOKEN") && seen.contains(&"STAGE"));
        assert!(!seen.iter().any(|n| n.starts_with('_') || n.contains("LOG_") || n.contains("TASK_ROOT")));
        assert!(!seen.contains(&"AWS_EXECUTION_ENV"));
        assert!(names(&launch.runtime(&settings)).contains(&"_HANDLER"));
    }
}
