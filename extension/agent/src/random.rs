//! A name that no other process can guess: of the report socket, of the telemetry listener's path.
//!
//! It decides nothing; what makes such a name known calls it.

use std::io;

use ringfence_records::message::REPORT_SOCKET_RANDOM;

/// 32 hexadecimal digits that cannot be guessed.
///
/// # Errors
/// Those of getrandom(2).
pub(crate) fn name() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(format!("{:0width$x}", u128::from_le_bytes(bytes), width = REPORT_SOCKET_RANDOM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_long_and_differ() {
        let (one, two) = (name().unwrap(), name().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, two);
    }
}
