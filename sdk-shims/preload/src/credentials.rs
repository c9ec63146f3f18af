//! getenv(3) and `secure_getenv(3)`, by symbol: reads of credential variables are seen.
//!
//! The value is found as libc finds it. A read of a credential is judged and written down once per variable and
//! process; in Node the language hook does this, with the line of code. Without a hook nothing tells the SDKs from other
//! code, so a read is written down and never denied.
#![cfg_attr(
    all(panic = "abort", not(test)),
    allow(unsafe_code, reason = "exported functions, and pointers into the program's environment")
)]

use core::sync::atomic::{AtomicU32, Ordering};

use ringfence_policy::{Action, CREDENTIAL_VARIABLES, Decision, Role};
use ringfence_records::handoff::hooks;
use ringfence_records::message::{ActionKind, Kind, Report};
use ringfence_records::record::subject;

use crate::state::{State, speaks};
use crate::{arch, report, sys};

/// Variables whose read has been written down: a bit each, the last for decoys.
static TOLD: AtomicU32 = AtomicU32::new(0);

/// Address of the value of `name`, as `getenv` answers: 0 where there is none or it is denied.
fn read(name: &[u8]) -> usize {
    let value = find(arch::environment_of_libc() as usize, name);
    let Some(state) = crate::state::get().filter(|state| state.rules.credentials && value != 0) else {
        return value;
    };
    if state.policy.is_credential(name) && denied(state, name) { 0 } else { value }
}

/// The values of the role's credentials in this process, which no record may show. Empty where there are none.
pub(crate) fn values() -> [&'static [u8]; CREDENTIAL_VARIABLES.len()] {
    const LONGEST: usize = 4096;
    let environment = arch::environment_of_libc() as usize;
    CREDENTIAL_VARIABLES
        .map(|name| sys::string_at(find(environment, name.as_bytes()), LONGEST).unwrap_or_default())
}

/// Walks an environment; the address behind `name=`.
fn find(environment: usize, name: &[u8]) -> usize {
    if environment == 0 || name.is_empty() {
        return 0;
    }
    (0_usize..1 << 18)
        .map_while(|index| sys::word_at(environment.wrapping_add(index * 8)).filter(|pointer| *pointer != 0))
        .find(|pointer| is_named(*pointer, name))
        .map_or(0, |pointer| pointer + name.len() + 1)
}

/// Whether the string at `pointer` begins with `name=`; reads no byte behind its end.
fn is_named(pointer: usize, name: &[u8]) -> bool {
    let byte = |index: usize| sys::bytes_at(pointer + index, 1).and_then(|byte| byte.first().copied());
    name.iter().enumerate().all(|(index, wanted)| byte(index) == Some(*wanted))
        && byte(name.len()) == Some(b'=')
}

fn denied(state: &State, variable: &[u8]) -> bool {
    if state.policy.may_be_read(variable) || (state.is_node && state.handoff.reads_hook == hooks::NODE) {
        return false;
    }
    let mut verdict = state.verdict(&Action::ReadCredential { variable, by_sdk: false });
    if verdict.decision == Decision::Deny && state.handoff.reads_hook == hooks::NONE {
        verdict.decision = Decision::Report;
    }
    let index = CREDENTIAL_VARIABLES.iter().position(|known| known.as_bytes() == variable).unwrap_or(31);
    let bit = u32::try_from(index).map_or(0, |index| 1_u32 << index);
    if speaks(verdict) && TOLD.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        let mut report = Report::new(Kind::Violation, ActionKind::ReadCredential);
        report.name = variable;
        if state.handoff.reads_hook == hooks::NONE && state.role() == Role::Runtime {
            report.detail = subject::NATIVE;
        }
        report::violation(state, verdict, &report);
    }
    verdict.decision == Decision::Deny
}

#[cfg(all(panic = "abort", not(test)))]
mod exported {
    use core::ffi::{CStr, c_char};

    fn value(name: *const c_char) -> *mut c_char {
        if name.is_null() {
            return core::ptr::null_mut();
        }
        // SAFETY: getenv(3) takes a string; the caller vouches for it as it would to libc.
        let name = unsafe { CStr::from_ptr(name) };
        super::read(name.to_bytes()) as *mut c_char
    }

    /// getenv(3).
    ///
    /// # Safety
    /// As in libc: `name` is a string, and nobody changes the environment meanwhile.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn getenv(name: *const c_char) -> *mut c_char {
        value(name)
    }

    /// `secure_getenv(3)`. A process that needs the secure form does not load us (ld.so(8), LD_PRELOAD).
    ///
    /// # Safety
    /// As for `getenv`.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn secure_getenv(name: *const c_char) -> *mut c_char {
        value(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_whole_name() {
        let strings = [c"AWS_SECRET=x", c"AWS_SECRET_ACCESS_KEY=y", c"EMPTY=", c"NOVALUE"];
        let mut vector: Vec<usize> = strings.iter().map(|text| text.as_ptr() as usize).collect();
        vector.push(0);
        let environment = vector.as_ptr() as usize;
        let value = |name: &[u8]| sys::string_at(find(environment, name), 100);
        assert_eq!(value(b"AWS_SECRET_ACCESS_KEY"), Some(&b"y"[..]));
        assert_eq!(value(b"EMPTY"), Some(&b""[..]));
        assert_eq!(value(b"AWS"), None);
        assert_eq!(value(b"NOVALUE"), None);
        assert_eq!(value(b""), None);
        assert_eq!(find(0, b"X"), 0);
    }
}
