//! A stack of the library's own, for work that needs more than the caller's may have.
//!
//! musl gives a child of `posix_spawn(3)` 5 KiB, and what lies below is the frame of its parent. What judges an exec and what
//! writes a record takes more. `exec` and `report` call it; it knows nothing of what is run.

#![allow(unsafe_code, reason = "another stack, and a closure handed over to it")]

use core::cell::Cell;
use core::mem::ManuallyDrop;

use crate::arch;
use crate::sys;

/// Far more than the deepest of what runs here takes, 13 KiB, should a signal handler come on top. Pages that are not touched cost nothing.
const SIZE: usize = 64 * 1024;

/// What is to be run, then what it gave.
union Task<F, T> {
    run: ManuallyDrop<F>,
    result: ManuallyDrop<T>,
}

/// Runs `run` on fresh memory, which is given back; on the caller's stack where no memory is to be had.
#[inline(never)]
pub(crate) fn with<T, F: FnOnce() -> T>(run: F) -> T {
    let Some(bottom) = fresh() else { return run() };
    let result = on(bottom, run);
    sys::unmap(bottom, SIZE);
    result
}

/// Such memory for several runs, one after the other: to have it and to give it back costs more than what runs on it.
#[derive(Debug)]
pub(crate) struct Stack {
    /// None where there is no memory, it is given back, or something runs on it.
    bottom: Cell<Option<usize>>,
}

impl Stack {
    pub(crate) fn new() -> Self {
        Self { bottom: Cell::new(fresh()) }
    }

    /// Runs `run` there, or as [`with`] where it cannot.
    pub(crate) fn run<T, F: FnOnce() -> T>(&self, run: F) -> T {
        let Some(bottom) = self.bottom.take() else { return with(run) };
        let result = on(bottom, run);
        self.bottom.set(Some(bottom));
        result
    }

    /// Gives the memory back before the value goes: an exec has no end.
    pub(crate) fn give_back(&self) {
        if let Some(bottom) = self.bottom.take() {
            sys::unmap(bottom, SIZE);
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn fresh() -> Option<usize> {
    sys::memory_near(0, SIZE).ok().map(|memory| memory.as_ptr() as usize)
}

/// Runs `run` on the memory at `bottom`, on which nothing else runs.
#[inline(never)]
fn on<T, F: FnOnce() -> T>(bottom: usize, run: F) -> T {
    let mut task = Task { run: ManuallyDrop::new(run) };
    // SAFETY: the memory is page-aligned, used by this call alone, and stays until it is over; `perform` is made for
    // this very task, which lives on here.
    unsafe { arch::call_on(bottom + SIZE, perform::<T, F>, (&raw mut task).cast()) };
    // SAFETY: `perform` has put the result there, and it is taken once.
    ManuallyDrop::into_inner(unsafe { task.result })
}

/// Takes the closure out of the task and puts its result there.
unsafe extern "C" fn perform<T, F: FnOnce() -> T>(task: *mut u8) {
    let task = task.cast::<Task<F, T>>();
    // SAFETY: `with` passes the address of its task, which holds the closure; each part is moved once.
    unsafe {
        let run = ManuallyDrop::take(&mut (*task).run);
        (*task).result = ManuallyDrop::new(run());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_elsewhere_gives_its_result_and_drops_what_it_took() {
        let here = [0_u8; 16];
        let text = String::from("taken");
        let (there, length) = with(|| {
            let there = [0_u8; 16];
            (std::hint::black_box(&there).as_ptr() as usize, text.len())
        });
        assert!(there.abs_diff(std::hint::black_box(&here).as_ptr() as usize) > 4096, "on another stack");
        assert_eq!(length, 5);
        assert_eq!(with(|| with(|| text.clone() + "!")), "taken!", "and once more on top");
    }

    #[test]
    fn a_stack_serves_one_run_after_the_other_until_it_is_given_back() {
        let place = || {
            let there = [0_u8; 16];
            std::hint::black_box(&there).as_ptr() as usize
        };
        let stack = Stack::new();
        let first = stack.run(place);
        assert!(stack.run(place).abs_diff(first) < SIZE / 2, "the same memory");
        let (outer, inner) = stack.run(|| (place(), stack.run(place)));
        assert!(outer.abs_diff(first) < SIZE / 2, "and again");
        assert!(inner.abs_diff(outer) > SIZE / 2, "what runs within has other memory");
        stack.give_back();
        assert!(sys::protect(first & !4095, 4096, sys::Use::Read).is_err(), "it is mapped no more");
        assert_eq!(stack.run(|| 7), 7);
    }
}
