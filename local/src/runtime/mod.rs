//! The language runtimes: which interpreter, which runtime client, which bootstrap.
//!
//! Decides what has to be mounted at /var/lang and /var/runtime and what is started; installs a runtime client on
//! first use into a cache. Must not know the sandbox's inside. Called once a run.

mod bootstrap;
mod cache;
mod dotnet;
mod interpreter;
mod java;
mod node;
mod python;
mod ruby;
mod setup;
mod tool;

use std::path::Path;

pub(crate) use setup::RuntimeSetup;
pub(crate) use tool::INTERRUPTS;

use setup::Request;

use crate::error::LocalError;
use crate::options::{Language, Options, Start};

/// What AWS's base images start.
const ENTRYPOINT: &str = include_str!("files/lambda-entrypoint.sh");

/// Finds or installs what the chosen runtime needs. `scratch` is an empty directory of this run.
pub(crate) fn prepare(options: &Options, opt: &Path, scratch: &Path) -> Result<RuntimeSetup, LocalError> {
    let request = Request { version: options.runtime.version, interpreter: options.interpreter.as_deref() };
    let setup = match options.runtime.language {
        Language::Python => python::prepare(&request)?,
        Language::Node => node::prepare(&request)?,
        Language::Java => java::prepare(&request)?,
        Language::Ruby => ruby::prepare(&request)?,
        Language::Dotnet => dotnet::prepare(&request)?,
        Language::Provided => provided(options, opt, scratch)?,
    };
    Ok(started(setup, options))
}

/// Has the runtime started as an image starts it, if it is one.
fn started(setup: RuntimeSetup, options: &Options) -> RuntimeSetup {
    let entrypoint = (setup.managed && options.start != Start::Zip).then_some(ENTRYPOINT);
    match &options.start {
        Start::BaseImage if setup.managed => {
            let argv = vec!["/lambda-entrypoint.sh".into(), options.handler.clone()];
            RuntimeSetup { argv, entrypoint, ..setup }
        }
        Start::Command(command) => {
            RuntimeSetup { argv: command.clone(), entrypoint, honours_wrapper: false, ..setup }
        }
        Start::Zip | Start::BaseImage => setup,
    }
}

/// provided.*: the bootstrap itself. For the short name alone, a wrapper of the function's configuration goes in front.
fn provided(options: &Options, opt: &Path, scratch: &Path) -> Result<RuntimeSetup, LocalError> {
    let places =
        [(options.code.join("bootstrap"), "/var/task/bootstrap"), (opt.join("bootstrap"), "/opt/bootstrap")];
    let found = places.iter().find(|(host, _)| host.is_file()).map(|(_, place)| *place);
    if found.is_none() && !matches!(options.start, Start::Command(_)) {
        return Err(LocalError::environment(
            "find the bootstrap",
            format!("neither {}/bootstrap nor bootstrap in a layer", options.code.display()),
        ));
    }
    // On Lambda no version of it honours the variable: there the bootstrap itself would start the wrapper.
    let wrapper = options.env.iter().rfind(|(name, _)| name == "AWS_LAMBDA_EXEC_WRAPPER");
    let wrapper = wrapper.filter(|(_, path)| options.runtime.version.is_none() && !path.is_empty());
    let argv = wrapper.map(|(_, path)| path.clone()).into_iter().chain(found.map(str::to_owned)).collect();
    Ok(RuntimeSetup {
        argv,
        version: format!("provided:{}.local", options.runtime.version.unwrap_or("al2023")),
        honours_wrapper: false,
        managed: false,
        ..RuntimeSetup::managed(scratch.to_path_buf())
    })
}
