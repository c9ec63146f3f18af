//! /var/runtime/bootstrap: environment, command, and the contract of AWS_LAMBDA_EXEC_WRAPPER.
//!
//! Decides what a wrapper gets and how a broken one ends. Command and variables are settled before the wrapper starts,
//! so a wrapper cannot undo them by variables. Must not know which language it starts. Called by each language.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::LocalError;

/// The wrapper's checks: an empty variable is none, a missing file ends with 127, one without execute bit with 126.
const WRAPPED: &str = r#"if [ -z "$AWS_LAMBDA_EXEC_WRAPPER" ]; then exec "$@"; fi
if [ ! -f "$AWS_LAMBDA_EXEC_WRAPPER" ]; then
  echo "$AWS_LAMBDA_EXEC_WRAPPER: does not exist"
  exit 127
fi
if [ ! -x "$AWS_LAMBDA_EXEC_WRAPPER" ]; then
  echo "$AWS_LAMBDA_EXEC_WRAPPER: is not an executable"
  exit 126
fi
exec "$AWS_LAMBDA_EXEC_WRAPPER" "$@"
"#;

/// The text of a bootstrap. `before` is shell that sets variables; `command` is shell words.
pub(super) fn text(execution_env: &str, before: &str, command: &str) -> String {
    format!("#!/bin/sh\nexport AWS_EXECUTION_ENV={execution_env}\n{before}set -- {command}\n{WRAPPED}")
}

/// Writes an executable file.
pub(super) fn write(place: &Path, name: &str, text: &str) -> Result<(), LocalError> {
    let file = place.join(name);
    fs::create_dir_all(place).map_err(|e| LocalError::file(place, e))?;
    fs::write(&file, text).map_err(|e| LocalError::file(&file, e))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).map_err(|e| LocalError::file(&file, e))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs a bootstrap with a wrapper variable: exit status and standard output.
    fn run(wrapper: Option<&str>) -> (i32, String) {
        let place = tempfile::tempdir().unwrap();
        write(place.path(), "bootstrap", &text("AWS_Lambda_x", "A=1\nexport A\n", "/usr/bin/env -0"))
            .unwrap();
        let mut command = Command::new(place.path().join("bootstrap"));
        command.env_clear().env("PATH", "/usr/bin:/bin");
        if let Some(wrapper) = wrapper {
            command.env("AWS_LAMBDA_EXEC_WRAPPER", wrapper);
        }
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn without_a_wrapper_or_with_an_empty_one_the_command_is_started() {
        for wrapper in [None, Some("")] {
            let (status, output) = run(wrapper);
            assert_eq!(status, 0);
            assert!(output.contains("AWS_EXECUTION_ENV=AWS_Lambda_x\0") && output.contains("A=1\0"));
        }
    }

    #[test]
    fn a_wrapper_gets_the_command() {
        assert_eq!(run(Some("/bin/echo")), (0, "/usr/bin/env -0\n".into()));
    }

    #[test]
    fn a_broken_wrapper_is_told_on_standard_output() {
        insta::assert_debug_snapshot!([run(Some("/nowhere")), run(Some("/etc/passwd"))], @r#"
        [
            (
                127,
                "/nowhere: does not exist\n",
            ),
            (
                126,
                "/etc/passwd: is not an executable\n",
            ),
        ]
        "#);
    }
}
