//! Time that may be spent at the end of an invocation.
//!
//! The platform bills that time and gives no next event meanwhile, and code of the function can make the work as long as
//! it likes: a million files, a deep tree, a thread that renames a folder for ever. What does not fit is done at the next
//! end. It only measures; [`crate::ledger`], [`crate::residue`] and [`crate::survivors`] ask.

use std::cell::Cell;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// For everything that is done at the end of an invocation.
pub(crate) const END_OF_INVOCATION: Duration = Duration::from_millis(20);

/// On a busy machine the work may take this many times as long, as long as it has not had its time of a processor:
/// a crowd of the function's processes is no reason to leave their files and themselves to the next invocation.
const CROWDED: u32 = 10;

/// Time that runs.
#[derive(Debug)]
pub(crate) struct Budget {
    until: Instant,
    /// The same in this thread's time of a processor, and until when that counts.
    processor: Duration,
    at_the_latest: Instant,
    was_short: Cell<bool>,
}

impl Budget {
    /// This much from now.
    pub(crate) fn new(time: Duration) -> Self {
        let now = Instant::now();
        Self {
            until: now + time,
            processor: processor_time() + time,
            at_the_latest: now + time * CROWDED,
            was_short: Cell::new(false),
        }
    }

    /// Does a part of the work in half of the time that is left, so that something is left for the rest.
    pub(crate) fn half<T>(&self, work: impl FnOnce(&Self) -> T) -> T {
        let left = self.until.saturating_duration_since(Instant::now());
        let processor = self.processor.saturating_sub(processor_time());
        let part = Self {
            processor: processor_time() + processor / 2,
            at_the_latest: self.at_the_latest,
            ..Self::new(left / 2)
        };
        let result = work(&part);
        self.was_short.set(self.was_short() || part.was_short());
        result
    }

    /// Whether there is time left.
    pub(crate) fn has_time(&self) -> bool {
        let now = Instant::now();
        let has_time = now < self.until || (now < self.at_the_latest && processor_time() < self.processor);
        self.was_short.set(self.was_short() || !has_time);
        has_time
    }

    /// Whether something was refused for want of time.
    pub(crate) const fn was_short(&self) -> bool {
        self.was_short.get()
    }
}

/// What this thread has had of a processor so far. Every kernel tells; if one did not, the latest moment alone would count.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::MAX / 2, Duration::from)
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
    fn a_thread_that_waits_for_a_processor_has_time_left() {
        let budget = Budget { until: Instant::now(), ..Budget::new(Duration::from_mins(10)) };
        assert!(budget.has_time(), "it has not had its time of a processor");
        let late = Budget { at_the_latest: Instant::now(), ..budget };
        assert!(!late.has_time());
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
