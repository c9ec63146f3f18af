//! Time that may be spent at the end of an invocation.
//!
//! The platform bills that time and gives no next event meanwhile, and code of the function can make the work as long as
//! it likes: a million files, a deep tree, a thread that renames a folder for ever. What does not fit is done at the next
//! end. It only measures; [`crate::ledger`], [`crate::residue`] and [`crate::survivors`] ask.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// For everything that is done at the end of an invocation.
pub(crate) const END_OF_INVOCATION: Duration = Duration::from_millis(20);

/// Time that runs.
#[derive(Debug)]
pub(crate) struct Budget {
    until: Instant,
    was_short: Cell<bool>,
}

impl Budget {
    /// This much from now.
    pub(crate) fn new(time: Duration) -> Self {
        Self { until: Instant::now() + time, was_short: Cell::new(false) }
    }

    /// Does a part of the work in half of the time that is left, so that something is left for the rest.
    pub(crate) fn half<T>(&self, work: impl FnOnce(&Self) -> T) -> T {
        let left = self.until.saturating_duration_since(Instant::now());
        let part = Self::new(left / 2);
        let result = work(&part);
        self.was_short.set(self.was_short() || part.was_short());
        result
    }

    /// Whether there is time left.
    pub(crate) fn has_time(&self) -> bool {
        let has_time = Instant::now() < self.until;
        self.was_short.set(self.was_short() || !has_time);
        has_time
    }

    /// Whether something was refused for want of time.
    pub(crate) const fn was_short(&self) -> bool {
        self.was_short.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_was_no_time_for_is_noticed() {
        let rich = Budget::new(Duration::from_mins(10));
        assert!(rich.has_time() && !rich.was_short());
        let poor = Budget::new(Duration::ZERO);
        assert!(!poor.was_short(), "nothing was asked for yet");
        assert!(!poor.has_time() && poor.was_short());
    }

    #[test]
    fn a_part_of_the_work_leaves_time_for_the_rest() {
        let whole = Budget::new(Duration::from_mins(10));
        whole.half(|part| assert!(part.until < whole.until && part.has_time()));
        assert!(!whole.was_short());
        whole.half(|part| part.was_short.set(true));
        assert!(whole.was_short() && whole.has_time());
    }
}
