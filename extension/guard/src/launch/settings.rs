//! What the platform and the user told the guard: its arguments and environment, read once.
//!
//! It decides nothing about policy; malformed values count as absent. `launch` calls it first.

use std::env;
use std::ffi::{CString, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use ringfence_policy::trouble_with_variable;
use ringfence_records::message::{address_of_api, address_of_proxy};

/// Where the layer is unpacked, if the guard cannot tell from its own path.
const LAYER: &str = "/opt";
/// Arguments and variables that are taken over; execve(2) itself allows about 2 MiB of them.
const MAX_STRINGS: usize = 65_536;

/// Arguments and environment.
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each a variable of its own")]
#[derive(Debug, Clone)]
pub struct Settings {
    /// The runtime's command: program and arguments, behind any further wrapper.
    pub command: Vec<CString>,
    /// Variables as `NAME=value`.
    pub environment: Vec<CString>,
    /// `AWS_LAMBDA_RUNTIME_API` as it stands there: part of the control socket's name.
    pub runtime_api_text: String,
    /// The same as an address.
    pub runtime_api: Option<SocketAddr>,
    /// `AWS_LWA_LAMBDA_RUNTIME_API_PROXY`: where a web adapter finds the API, if that is on this machine.
    pub adapters_proxy: Option<SocketAddr>,
    /// `AWS_LAMBDA_FUNCTION_NAME`.
    pub function: String,
    /// `RINGFENCE_POLICY`.
    pub policy: Option<String>,
    /// `RINGFENCE_ON_ERROR`.
    pub on_error: Option<String>,
    /// `RINGFENCE_PLANE=process`: no kernel plane although there might be one.
    pub process_plane_only: bool,
    /// Whether language hooks are loaded: `RINGFENCE_SHIMS=off` leaves them out.
    pub shims: bool,
    /// Whether several worker processes of the runtime serve invocations side by side (Managed Instances).
    pub concurrent: bool,
    /// Whether a runtime of AWS's runs (`AWS_EXECUTION_ENV`, which an OS-only runtime and most images do not set).
    pub managed: bool,
    /// `RINGFENCE=off`: the command is started as if there were no guard.
    pub off: bool,
    /// What is wrong with the variables by which the user sets Ringfence.
    pub trouble: Vec<String>,
    /// Folder that holds `ringfence/`, beside the guard itself.
    pub layer: PathBuf,
}

/// `AWS_Lambda_python3.13` and the like.
fn is_managed(execution_environment: &str) -> bool {
    execution_environment.strip_prefix("AWS_Lambda_").is_some_and(|runtime| runtime != "Image")
}

impl Settings {
    /// Reads arguments and environment of this process.
    #[must_use]
    pub fn read() -> Self {
        let api = text("AWS_LAMBDA_RUNTIME_API").unwrap_or_default();
        Self {
            command: command(env::var_os("RINGFENCE_EXEC_WRAPPER"), env::args_os().skip(1)),
            environment: env::vars_os()
                .take(MAX_STRINGS)
                .filter_map(|(name, value)| variable(&name, &value))
                .collect(),
            runtime_api: address_of_api(&api),
            adapters_proxy: text("AWS_LWA_LAMBDA_RUNTIME_API_PROXY").and_then(|text| address_of_proxy(&text)),
            runtime_api_text: api,
            function: text("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default(),
            policy: text("RINGFENCE_POLICY"),
            on_error: text("RINGFENCE_ON_ERROR"),
            process_plane_only: text("RINGFENCE_PLANE").as_deref() == Some("process"),
            shims: text("RINGFENCE_SHIMS").as_deref() != Some("off"),
            concurrent: text("AWS_LAMBDA_MAX_CONCURRENCY").is_some()
                || text("AWS_LAMBDA_INITIALIZATION_TYPE").as_deref() == Some("lambda-managed-instances"),
            managed: text("AWS_EXECUTION_ENV").is_some_and(|name| is_managed(&name)),
            off: text("RINGFENCE").as_deref() == Some("off"),
            trouble: trouble(),
            layer: layer(),
        }
    }

    /// The preload library, whether it is there or not.
    #[must_use]
    pub fn preload_library(&self) -> PathBuf {
        self.layer.join("ringfence/lib/libringfence.so")
    }

    /// The folder of the Python hook, whether it is there or not.
    #[must_use]
    pub fn python_hook(&self) -> PathBuf {
        self.layer.join("ringfence/python")
    }

    /// The file that Node is to load first, whether it is there or not.
    #[must_use]
    pub fn node_hook(&self) -> PathBuf {
        self.layer.join("ringfence/node/ringfence.cjs")
    }

    /// The agent jar that the JVM is to load first, whether it is there or not.
    #[must_use]
    pub fn java_hook(&self) -> PathBuf {
        self.layer.join("ringfence/java/ringfence.jar")
    }

    /// The value of a variable as the runtime would see it.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        self.environment
            .iter()
            .find_map(|entry| entry.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }
}

/// The command, behind the wrapper that `RINGFENCE_EXEC_WRAPPER` names: the platform has one slot, and we took it.
fn command(wrapper: Option<OsString>, arguments: impl Iterator<Item = OsString>) -> Vec<CString> {
    let wrapper = wrapper.filter(|wrapper| !wrapper.is_empty());
    let strings = wrapper.into_iter().chain(arguments).take(MAX_STRINGS);
    strings.filter_map(|string| CString::new(string.into_vec()).ok()).collect()
}

fn variable(name: &OsString, value: &OsString) -> Option<CString> {
    CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
}

fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// `RINGFENCE_ON_ERROR` is told by the search for the policy.
fn trouble() -> Vec<String> {
    let variables = env::vars_os().take(MAX_STRINGS).filter(|(name, _)| name != "RINGFENCE_ON_ERROR");
    variables
        .filter_map(|(name, value)| trouble_with_variable(&name.to_string_lossy(), &value.to_string_lossy()))
        .collect()
}

fn layer() -> PathBuf {
    let own = env::current_exe().ok();
    own.as_deref().and_then(Path::parent).map_or_else(|| PathBuf::from(LAYER), Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn the_further_wrapper_comes_first() {
        let arguments = ["/var/lang/bin/python3.13".into(), "-m".into()];
        let chained = command(Some("/opt/other-wrapper".into()), arguments.clone().into_iter());
        assert_eq!(chained.first().unwrap().to_bytes(), b"/opt/other-wrapper");
        assert_eq!(command(Some("".into()), arguments.into_iter()).len(), 2);
    }
}
