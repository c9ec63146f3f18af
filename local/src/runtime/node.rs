//! Node: not available yet in this version, said with what is missing.

use super::RuntimeSetup;
use crate::error::LocalError;

pub(super) fn prepare() -> Result<RuntimeSetup, LocalError> {
    Err(LocalError::environment("prepare the runtime node", "not available yet"))
}
