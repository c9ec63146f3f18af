//! Policies that FunctionShield users already have, in this language.
//!
//! It finds the four keys in whatever they stand in (JSON, Python, JavaScript, an environment file) and decides what
//! each means here. It reads text only; the command line calls it and prints the policy.

use super::patterns::PathGlob;
use super::value::Denied;
use super::{Mode, Policy, Writes};

/// What FunctionShield's settings are in this language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The policy.
    pub policy: Policy,
    /// What is not quite the same, one sentence each.
    pub notes: Vec<String>,
}

/// Why text holds no FunctionShield settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// None of the four keys is there.
    #[error(
        "no setting of FunctionShield found: expected outbound_connectivity, read_write_tmp, create_child_process or \
         read_handler"
    )]
    NoSetting,
    /// A key has a value that FunctionShield does not know.
    #[error("{key} is {value:?}: expected block, alert or allow")]
    Value {
        /// The key.
        key: &'static str,
        /// What stands there, cut to 40 characters.
        value: String,
    },
}

/// Turns FunctionShield's settings in `text` into a policy.
///
/// # Errors
/// [`ImportError`] where there is no setting, or one with an unknown value.
pub fn import_function_shield(text: &str) -> Result<Imported, ImportError> {
    let outbound = setting(text, "outbound_connectivity")?;
    let tmp = setting(text, "read_write_tmp")?;
    let children = setting(text, "create_child_process")?;
    let handler = setting(text, "read_handler")?;
    if [outbound, tmp, children, handler].iter().all(Option::is_none) {
        return Err(ImportError::NoSetting);
    }
    let mut imported = Imported { policy: Policy::default(), notes: Vec::new() };
    let base = &mut imported.policy.base;
    if let Some(mode) = in_force(outbound) {
        base.egress.mode = Some(mode);
        base.egress.allow = Some(Vec::new());
        imported.notes.push("egress: name the hosts that the function needs in egress.allow".to_owned());
    }
    if let Some(mode) = in_force(children) {
        base.process.mode = Some(mode);
        base.process.allow = Some(Vec::new());
    }
    if let Some(mode) = in_force(tmp) {
        base.tmp.mode = Some(mode);
        base.tmp.writes = Some(Writes::Deny);
    }
    imported.deny_reads(in_force(tmp), in_force(handler));
    Ok(imported)
}

impl Imported {
    /// Both keys close files to reading, and the section has one mode.
    fn deny_reads(&mut self, tmp: Option<Mode>, handler: Option<Mode>) {
        let globs = [tmp.map(|_| "/tmp/**"), handler.map(|_| "/var/task/*")];
        let globs: Vec<PathGlob> = globs.into_iter().flatten().filter_map(PathGlob::new).collect();
        if globs.is_empty() {
            return;
        }
        let both = [tmp, handler];
        let mode = if both.contains(&Some(Mode::Observe)) { Mode::Observe } else { Mode::Enforce };
        if both.contains(&Some(Mode::Observe)) && both.contains(&Some(Mode::Enforce)) {
            let note =
                "files: read_write_tmp and read_handler differ, and [files] has one mode: reads are observed";
            self.notes.push(note.to_owned());
        }
        if handler.is_some() {
            let note = "files: only the files beside the handler are closed; runtimes load packages during invocations";
            self.notes.push(note.to_owned());
        }
        self.policy.base.files.mode = Some(mode);
        self.policy.base.files.deny_read = Some(Denied(globs));
    }
}

/// The mode that a setting asks for; none where it allows.
fn in_force(setting: Option<Mode>) -> Option<Mode> {
    setting.filter(|mode| *mode != Mode::Off)
}

/// The value of `key`: the word after it, whatever quotes and signs are between.
fn setting(text: &str, key: &'static str) -> Result<Option<Mode>, ImportError> {
    let Some((_, rest)) = text.split_once(key) else { return Ok(None) };
    let rest =
        rest.trim_start_matches(|character: char| character.is_whitespace() || "\"':=>`".contains(character));
    let word: String = rest.chars().take_while(char::is_ascii_alphabetic).take(40).collect();
    match word.as_str() {
        "block" => Ok(Some(Mode::Enforce)),
        "alert" => Ok(Some(Mode::Observe)),
        "allow" => Ok(Some(Mode::Off)),
        _ => Err(ImportError::Value { key, value: word }),
    }
}

#[cfg(test)]
mod tests {
    use super::{ImportError, import_function_shield};

    #[test]
    fn settings_are_found_in_json_and_in_code() {
        let json = r#"{"policy": {"outbound_connectivity": "block", "read_write_tmp": "alert",
                       "create_child_process": "block", "read_handler": "block"}, "disable_analytics": true}"#;
        let imported = import_function_shield(json).unwrap();
        insta::assert_snapshot!(imported.policy.to_toml(), @r#"
        version = 1
        mode = "enforce"
        on_degraded = "continue"

        [process]
        mode = "enforce"
        allow = []

        [egress]
        mode = "enforce"
        allow = []

        [tmp]
        mode = "observe"
        writes = "deny"

        [files]
        mode = "observe"
        deny_read = ["/tmp/**", "/var/task/*"]
        "#);
        assert_eq!(imported.notes.len(), 3);
        let code = "function_shield.configure({'policy': {'create_child_process': 'block'}})";
        let policy = import_function_shield(code).unwrap().policy;
        assert_eq!(policy.base.process.allow, Some(Vec::new()));
        assert_eq!((policy.base.egress.allow, policy.base.files.mode), (None, None));
        assert!(
            import_function_shield("create_child_process=allow").unwrap().policy.base.process.allow.is_none()
        );
    }

    #[test]
    fn what_is_no_setting_is_said() {
        assert_eq!(import_function_shield("{}"), Err(ImportError::NoSetting));
        let error = import_function_shield("read_handler: 3").unwrap_err();
        assert_eq!(error.to_string(), "read_handler is \"\": expected block, alert or allow");
    }
}
