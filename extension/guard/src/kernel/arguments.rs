//! A call's arguments as the kernel takes them: a register has 64 bits, and an `int` is the lower half of one.
//!
//! It decides nothing; each module that reads numbers from a notification calls it.

/// An `int` argument as the kernel takes it: the low 32 bits.
#[must_use]
pub fn low_word(argument: u64) -> i32 {
    let [a, b, c, d, ..] = argument.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_half_of_a_register_does_not_count() {
        assert_eq!(low_word(0xffff_ffff_ffff_ff9c), libc::AT_FDCWD);
    }
}
