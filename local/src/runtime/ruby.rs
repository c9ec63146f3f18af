//! Ruby: an interpreter of the machine with the real runtime client `aws_lambda_ric` from `RubyGems`.
//!
//! Decides where interpreter and client come from, and the variables that Lambda's own bootstrap sets.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::interpreter::{Search, kept, output_of, visible};
use super::setup::{Request, RuntimeSetup};
use super::{bootstrap, cache, tool};
use crate::error::LocalError;
use crate::sandbox::plan::Lang;

/// Prints prefix, executable, and the version of the binary interface (3.2.0), a line each.
const PROBE: &str =
    "require 'rbconfig'; puts RbConfig::CONFIG['prefix'], RbConfig.ruby, RbConfig::CONFIG['ruby_version']";
const CLIENT: &str = "aws_lambda_ric";
/// Starts the client's own program with the handler as its argument.
const START: &str =
    "ARGV.replace([ENV.fetch('_HANDLER')])\nload Gem.bin_path('aws_lambda_ric', 'aws_lambda_ric')\n";

struct Interpreter {
    prefix: PathBuf,
    executable: PathBuf,
    /// 3.2.0 for every Ruby 3.2.
    interface: String,
}

impl Interpreter {
    fn version(&self) -> &str {
        self.interface.rsplit_once('.').map_or(self.interface.as_str(), |(version, _)| version)
    }
}

pub(super) fn prepare(request: &Request<'_>) -> Result<RuntimeSetup, LocalError> {
    let ruby = find(request)?;
    let script = bootstrap_text(&ruby);
    let name = format!("ruby{}", ruby.version());
    let directory = cache::filled(&name, &[&script, START], |fresh| {
        install(&ruby, &fresh.join("ruby").join(&ruby.interface))?;
        bootstrap::write(fresh, "bootstrap", &script)?;
        bootstrap::write(&fresh.join("lib"), "runtime.rb", START)
    })?;
    let version = format!("ruby:{}.local", ruby.version());
    Ok(RuntimeSetup { lang: lang(ruby), version, ..RuntimeSetup::managed(directory) })
}

fn find(request: &Request<'_>) -> Result<Interpreter, LocalError> {
    let named = request.version.map(|version| format!("ruby{version}"));
    let search = Search {
        what: format!("Ruby {}", request.version.unwrap_or("3")),
        named: request.interpreter,
        names: named.into_iter().chain(["ruby".into()]).collect(),
        further: request.version.map(|version| kept(".rbenv", version, "ruby")).unwrap_or_default(),
        hint: "install it (Debian: apt-get install ruby), or name one with --interpreter".into(),
    };
    search.first(|candidate| {
        let (text, _) = output_of(candidate, &["-e", PROBE])?;
        let mut lines = text.lines().map(str::to_owned);
        let (prefix, executable, interface) = (lines.next()?.into(), lines.next()?.into(), lines.next()?);
        let found = Interpreter { prefix, executable, interface };
        request.version.is_none_or(|version| version == found.version()).then_some(found)
    })
}

fn lang(ruby: Interpreter) -> Lang {
    if visible(&ruby.executable) {
        return Lang { links: vec![("ruby".into(), ruby.executable)], ..Lang::default() };
    }
    Lang { prefix: Some(ruby.prefix), ..Lang::default() }
}

/// `GEM_HOME` and `GEM_PATH` only where the configuration has none; RUBYLIB before what it has.
fn bootstrap_text(ruby: &Interpreter) -> String {
    let interface = &ruby.interface;
    let before = format!(
        ": \"${{GEM_HOME:=/var/runtime/ruby/{interface}}}\"\n\
         : \"${{GEM_PATH:=/var/task/vendor/bundle/ruby/{interface}:/opt/ruby/gems/{interface}:/var/runtime:\
         /var/runtime/ruby/{interface}}}\"\n\
         RUBYLIB=/var/task:/var/runtime/lib:${{RUBYLIB:-/opt/ruby/lib}}\n\
         PATH=/var/lang/bin:$PATH\n\
         export GEM_HOME GEM_PATH RUBYLIB PATH\n"
    );
    bootstrap::text(
        &format!("AWS_Lambda_ruby{}", ruby.version()),
        &before,
        "/var/lang/bin/ruby /var/runtime/lib/runtime.rb",
    )
}

fn install(ruby: &Interpreter, gems: &Path) -> Result<(), LocalError> {
    let step = || format!("install {CLIENT} with gem");
    let mut gem = Command::new(&ruby.executable);
    gem.args(["-S", "gem", "install", "--no-document", "--install-dir"]).arg(gems).arg(CLIENT);
    let ended = tool::run(&mut gem, |e| LocalError::environment(step(), e))?;
    ended.failure().map_or(Ok(()), |reason| Err(LocalError::environment(step(), reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_are_lambdas_and_the_configuration_goes_before() {
        let ruby = Interpreter {
            prefix: "/usr".into(),
            executable: "/usr/bin/ruby".into(),
            interface: "3.2.0".into(),
        };
        assert_eq!(ruby.version(), "3.2");
        let place = tempfile::tempdir().unwrap();
        let script =
            bootstrap_text(&ruby).replace("/var/lang/bin/ruby /var/runtime/lib/runtime.rb", "/usr/bin/env");
        bootstrap::write(place.path(), "bootstrap", &script).unwrap();
        let output = Command::new(place.path().join("bootstrap"))
            .env_clear()
            .env("PATH", "/usr/bin")
            .env("RUBYLIB", "/mine")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for line in [
            "RUBYLIB=/var/task:/var/runtime/lib:/mine",
            "GEM_PATH=/var/task/vendor/bundle/ruby/3.2.0:/opt/ruby/gems/3.2.0:/var/runtime:/var/runtime/ruby/3.2.0",
            "AWS_EXECUTION_ENV=AWS_Lambda_ruby3.2",
        ] {
            assert!(text.lines().any(|seen| seen == line), "{line} is not in\n{text}");
        }
    }
}
