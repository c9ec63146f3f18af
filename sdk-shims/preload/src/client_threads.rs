//! The threads that the runtime's client may speak to its API on, each with a connection of its own.
//!
//! Node's client waits for events on the threads of the interpreter's pool, and since version 4 each of them keeps a
//! connection. They are all there when the first event is asked for, so a thread that function code starts later is none
//! of them. It must not know policy; `runtime_api` calls it.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::closing::numbers;
use crate::state::{self, State};
use crate::sys;

/// A pool has 4 unless `UV_THREADPOOL_SIZE` says more; Managed Instances have 8 workers for each processor as well.
const MAX_THREADS: usize = 512;
/// The seat of all that goes on the main thread and on threads of function code.
pub(crate) const SHARED: u32 = 0;

/// Those that were there when the first event was asked for; 0 ends them.
static THREADS: [AtomicU32; MAX_THREADS] = [const { AtomicU32::new(0) }; MAX_THREADS];

/// Writes down who is there.
pub(crate) fn take_stock() {
    let Ok(folder) = sys::open_at(sys::CWD, b"/proc/self/task\0", sys::O_CLOEXEC) else { return };
    let mut places = THREADS.iter();
    let mut buffer = [0; 1024];
    while let Ok(filled @ 1..) = sys::read_folder(folder.0, &mut buffer) {
        for (thread, place) in numbers(buffer.get(..filled).unwrap_or_default()).zip(&mut places) {
            place.store(thread, Ordering::Relaxed);
        }
        if places.len() == 0 {
            return;
        }
    }
}

/// Which connections count together with one of this thread: its own where it may be the client's, or [`SHARED`].
pub(crate) fn seat(state: &State) -> u32 {
    let thread = sys::thread_id();
    let may_be_clients = state.is_node
        && thread != sys::process_id()
        && (!state::has_been_invoked() || is_listed(&THREADS, thread));
    if may_be_clients { thread } else { SHARED }
}

/// Where there were more than could be written down, everybody is.
fn is_listed(threads: &[AtomicU32], thread: u32) -> bool {
    let mut known = threads.iter().map(|known| known.load(Ordering::Relaxed)).take_while(|known| *known != 0);
    let is_full = threads.last().is_some_and(|last| last.load(Ordering::Relaxed) != 0);
    is_full || known.any(|known| known == thread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_comes_later_is_not_known() {
        take_stock();
        let known = |thread| is_listed(&THREADS, thread);
        let later = std::thread::spawn(sys::thread_id);
        assert!(known(sys::thread_id()) && known(sys::process_id()));
        assert!(!known(later.join().unwrap()) && !known(SHARED));
    }

    #[test]
    fn a_full_list_keeps_nobody_out() {
        let threads = [7, 8].map(AtomicU32::new);
        assert!(is_listed(&threads, 9));
        threads[1].store(0, Ordering::Relaxed);
        assert!(is_listed(&threads, 7) && !is_listed(&threads, 9));
    }
}
