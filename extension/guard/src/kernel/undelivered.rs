//! Results of calls that were carried out but whose caller no longer waited for them.
//!
//! Before Linux 5.19 (`WAIT_KILLABLE_RECV`) a signal takes a caller out of its wait, and it asks again for what has been
//! done: a datagram would be sent twice, a stream would carry the same bytes twice. The second question gets the first
//! one's result. `kernel` and `send` call it.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use crate::sys::seccomp::Notification;

/// Results that are kept.
const MAX_KEPT: usize = 32;
/// How long a signal handler may take before the call is one of its own.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Entry {
    thread: u32,
    number: i32,
    arguments: [u64; 6],
    content: u64,
    value: i64,
    noted: Instant,
}

/// The results.
#[derive(Debug, Default)]
pub struct Undelivered {
    kept: VecDeque<Entry>,
}

impl Undelivered {
    /// Keeps the result of a call and what it sent.
    pub fn remember(&mut self, call: &Notification, content: &[u8], value: i64) {
        if self.kept.len() >= MAX_KEPT {
            self.kept.pop_front();
        }
        let Notification { thread, number, arguments, .. } = *call;
        let content = digest(content);
        self.kept.push_back(Entry { thread, number, arguments, content, value, noted: Instant::now() });
    }

    /// The result, if this is the same call of the same thread with the same content, once.
    pub fn take(&mut self, call: &Notification, content: &[u8]) -> Option<i64> {
        self.kept.retain(|entry| entry.noted.elapsed() < PATIENCE);
        if self.kept.is_empty() {
            return None;
        }
        let content = digest(content);
        let at = self.kept.iter().position(|entry| {
            (entry.thread, entry.number, entry.arguments) == (call.thread, call.number, call.arguments)
                && entry.content == content
        })?;
        self.kept.remove(at).map(|entry| entry.value)
    }
}

fn digest(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(thread: u32, address: u64) -> Notification {
        let mut call = Notification::default();
        (call.thread, call.arguments) = (thread, [3, address, 1, 0, 0, 0]);
        call
    }

    #[test]
    fn the_same_call_gets_its_result_once() {
        let mut undelivered = Undelivered::default();
        undelivered.remember(&call(7, 100), b"x", 1);
        for (other, content) in [(call(8, 100), b"x"), (call(7, 101), b"x"), (call(7, 100), b"y")] {
            assert_eq!(undelivered.take(&other, content), None, "{other:?}");
        }
        assert_eq!(undelivered.take(&call(7, 100), b"x"), Some(1));
        assert_eq!(undelivered.take(&call(7, 100), b"x"), None);
    }

    #[test]
    fn it_is_bounded() {
        let mut undelivered = Undelivered::default();
        (0..100).for_each(|thread| undelivered.remember(&call(thread, 1), b"", 0));
        assert_eq!(undelivered.kept.len(), MAX_KEPT);
    }
}
