//! Locks of what threads share.
//!
//! A thread that panics is caught and its call refused, so a lock that it held is as good as before.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The content of a mutex, whether or not a thread died with it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
