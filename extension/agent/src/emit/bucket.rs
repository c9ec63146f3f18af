//! A token bucket: how many lines may go out.
//!
//! Log lines cost the customer money, and an attacker decides how many violations there are. The emitter asks it
//! before every line that code of the function can cause.

use std::time::Instant;

/// Lines at once.
const BURST: f64 = 100.0;
/// Lines a second after that.
const RATE: f64 = 10.0;

#[derive(Debug)]
pub(super) struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    pub(super) const fn new(now: Instant) -> Self {
        Self { tokens: BURST, filled: now }
    }

    /// Whether a line may go out now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled);
        self.tokens = passed.as_secs_f64().mul_add(RATE, self.tokens).min(BURST);
        self.filled = now;
        let some = self.tokens >= 1.0;
        if some {
            self.tokens -= 1.0;
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_then_a_trickle() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        assert_eq!((0..1000).filter(|_| bucket.take(start)).count(), 100);
        let later = start + Duration::from_millis(1050);
        assert_eq!((0..1000).filter(|_| bucket.take(later)).count(), 10);
        let much_later = later + Duration::from_hours(1);
        assert_eq!((0..1000).filter(|_| bucket.take(much_later)).count(), 100);
    }
}
