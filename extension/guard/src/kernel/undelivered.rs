//! Results of calls that were carried out but whose caller no longer waited for them.
//!
//! Before Linux 5.19 (`WAIT_KILLABLE_RECV`) a signal takes a caller out of its wait, and it asks again for what has been
//! done: a datagram would be sent twice, a stream would carry the same bytes twice. The second question gets the first
//! one's result. `kernel`, `send`, `open`, `names` and the workers call it.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::lock::lock;
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

/// The results, of the supervisor's own answers and of its workers'.
#[derive(Debug, Default, Clone)]
pub struct Undelivered {
    kept: Arc<Mutex<VecDeque<Entry>>>,
}

impl Undelivered {
    /// Keeps the result of a call and what it sent.
    pub fn remember(&self, call: &Notification, content: &[u8], value: i64) {
        self.remember_digest(call, digest(content), value);
    }

    /// The same, with the [`digest`] of what it sent.
    pub fn remember_digest(&self, call: &Notification, content: u64, value: i64) {
        let mut kept = lock(&self.kept);
        if kept.len() >= MAX_KEPT {
            kept.pop_front();
        }
        let Notification { thread, number, arguments, .. } = *call;
        kept.push_back(Entry { thread, number, arguments, content, value, noted: Instant::now() });
    }

    /// The result, if this is the same call of the same thread with the same content, once.
    pub fn take(&self, call: &Notification, content: &[u8]) -> Option<i64> {
        let mut kept = lock(&self.kept);
        kept.retain(|entry| entry.noted.elapsed() < PATIENCE);
        if kept.is_empty() {
            return None;
        }
        let content = digest(content);
        let at = kept.iter().position(|entry| {
            (entry.thread, entry.number, entry.arguments) == (call.thread, call.number, call.arguments)
                && entry.content == content
        })?;
        kept.remove(at).map(|entry| entry.value)
    }
}

/// What is kept of a content.
#[must_use]
pub fn digest(content: &[u8]) -> u64 {
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
        let undelivered = Undelivered::default();
        undelivered.remember(&call(7, 100), b"x", 1);
        for (other, content) in [(call(8, 100), b"x"), (call(7, 101), b"x"), (call(7, 100), b"y")] {
            assert_eq!(undelivered.take(&other, content), None, "{other:?}");
        }
        assert_eq!(undelivered.take(&call(7, 100), b"x"), Some(1));
        assert_eq!(undelivered.take(&call(7, 100), b"x"), None);
    }

    #[test]
    fn it_is_bounded() {
        let undelivered = Undelivered::default();
        (0..100).for_each(|thread| undelivered.remember(&call(thread, 1), b"", 0));
        assert_eq!(lock(&undelivered.kept).len(), MAX_KEPT);
    }
}
