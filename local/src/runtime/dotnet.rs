//! .NET: the `dotnet` of the machine, for functions that bring their runtime client with them.
//!
//! Decides the command by the handler, as Lambda's bootstrap does. A handler with colons (`Assembly::Type::Method`)
//! needs AWS's Amazon.Lambda.RuntimeSupport.dll in the function's folder: none is installed here.

use std::path::{Path, PathBuf};

use super::interpreter::{Search, output_of, visible};
use super::setup::{Request, RuntimeSetup};
use super::{bootstrap, cache};
use crate::error::LocalError;
use crate::sandbox::plan::Lang;

/// Chooses between a class library, an assembly with an entry point, and a native program.
const CHOICE: &str = r#"export DOTNET_ROOT=/var/lang/bin
export LAMBDA_RUNTIME_NAME=dotnetVERSION
: "${SSL_CERT_FILE:=/var/runtime/empty-certificates.crt}"
export SSL_CERT_FILE
assembly=${LAMBDA_DOTNET_MAIN_ASSEMBLY:-${_HANDLER%%:*}}
assembly=${assembly%.dll}
case $_HANDLER in
*:*)
  if [ ! -f "/var/task/$assembly.deps.json" ] || [ ! -f "/var/task/$assembly.runtimeconfig.json" ]; then
    echo "/var/task/$assembly.deps.json or .runtimeconfig.json: does not exist"
    exit 104
  fi
  set -- /var/lang/bin/dotnet exec --depsfile "/var/task/$assembly.deps.json" \
    --runtimeconfig "/var/task/$assembly.runtimeconfig.json" /var/task/Amazon.Lambda.RuntimeSupport.dll "$_HANDLER"
  ;;
*)
  if [ -f "/var/task/$assembly.dll" ]; then
    set -- /var/lang/bin/dotnet exec "/var/task/$assembly.dll"
  else
    set -- "/var/task/$assembly"
  fi
  ;;
esac
"#;

pub(super) fn prepare(request: &Request<'_>) -> Result<RuntimeSetup, LocalError> {
    let version = request.version.unwrap_or("8");
    let executable = find(request, version)?;
    let script = bootstrap_text(version);
    let directory = cache::filled(&format!("dotnet{version}"), &[&script], |fresh| {
        bootstrap::write(fresh, "empty-certificates.crt", "")?;
        bootstrap::write(fresh, "bootstrap", &script)
    })?;
    Ok(RuntimeSetup {
        lang: lang(executable),
        version: format!("dotnet:{version}.local"),
        ..RuntimeSetup::managed(directory)
    })
}

fn find(request: &Request<'_>, version: &str) -> Result<PathBuf, LocalError> {
    let search = Search {
        what: format!(".NET {version}"),
        named: request.interpreter,
        names: vec!["dotnet".into()],
        further: Vec::new(),
        hint: "install it, or name its dotnet with --interpreter".into(),
    };
    search.first(|candidate| {
        let (runtimes, _) = output_of(candidate, &["--list-runtimes"])?;
        let fits = |line: &str| line.starts_with(&format!("Microsoft.NETCore.App {version}."));
        runtimes.lines().any(fits).then(|| candidate.canonicalize().ok()).flatten()
    })
}

fn lang(executable: PathBuf) -> Lang {
    if visible(&executable) {
        return Lang { links: vec![("dotnet".into(), executable)], ..Lang::default() };
    }
    let folder = executable.parent().unwrap_or(Path::new("/")).to_path_buf();
    Lang { links: Vec::new(), mounts: vec![("bin".into(), folder)], ..Lang::default() }
}

fn bootstrap_text(version: &str) -> String {
    bootstrap::text(&format!("AWS_Lambda_dotnet{version}"), &CHOICE.replace("VERSION", version), "\"$@\"")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn command(handler: &str) -> (i32, String) {
        let place = tempfile::tempdir().unwrap();
        bootstrap::write(place.path(), "bootstrap", &bootstrap_text("8")).unwrap();
        let output = Command::new(place.path().join("bootstrap"))
            .env("_HANDLER", handler)
            .env("AWS_LAMBDA_EXEC_WRAPPER", "/bin/echo")
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn the_handler_decides_what_is_started() {
        insta::assert_debug_snapshot!([command("Native"), command("Assembly::Type::Method")], @r#"
        [
            (
                0,
                "/var/task/Native\n",
            ),
            (
                104,
                "/var/task/Assembly.deps.json or .runtimeconfig.json: does not exist\n",
            ),
        ]
        "#);
    }
}
