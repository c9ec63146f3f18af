//! Whether an exec became what was allowed.
//!
//! The kernel reads the path again after it was judged, and another thread may have changed it by then. So each exec
//! that goes ahead is noted here with the file that was judged, and the process is looked at again: at its next
//! supervised call, and by a clock. A process that runs something else is judged anew by what it runs. Until the
//! first look forbidden code can compute, but reaches no supervised call.

use std::time::{Duration, Instant};

use super::answer::ExpectedExec;
use super::target;
use crate::sys::Errno;
use crate::sys::descriptor::Identity;

/// Execs that may be under way at one time; one more is refused for the moment.
const MAX_PENDING: usize = 64;
/// Files that one process may be about to run, each from a thread of its own.
const MAX_ALLOWED: usize = 4;
/// Processes whose last exec has no outcome yet: mostly such as failed after it was allowed.
const MAX_UNSETTLED: usize = 256;
/// Executables that were allowed at some time; a process that runs none of them is judged anew.
const MAX_KNOWN: usize = 256;
/// Images of the runtime's executable that may run: its own, and those of workers it was allowed to start.
const MAX_IMAGES: usize = 64;
/// How long a process may be closed to looks for being in the middle of its exec.
const HIDDEN_AFTER: Duration = Duration::from_millis(900);
/// When a process is looked at after its exec, in milliseconds.
const LOOKS: [u64; 6] = [1, 5, 20, 100, 1000, 5000];

#[derive(Debug, Clone, Copy)]
struct Pending {
    process: u32,
    before: Identity,
    stack_before: u64,
    allowed: [Identity; MAX_ALLOWED],
    used: usize,
    noted: Instant,
    looks: usize,
    /// Whether the user may read the file, so that what runs it can be looked at.
    readable: bool,
    /// When it was first found to be closed to looks.
    closed_since: Option<Instant>,
    condemned: bool,
}

/// What a look at a process found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It runs what it may.
    Expected,
    /// It is gone.
    Gone,
    /// It may not be looked at: not dumpable, as every process is for a moment in the middle of its exec.
    Closed,
    /// It runs a file that nobody allowed.
    Unexpected(Identity),
    /// It became something that may not be looked at, though the file that was allowed is one that may be read.
    Hidden,
    /// It was killed for what it runs, and is not gone yet.
    Condemned,
}

/// The execs under way.
#[derive(Debug)]
pub struct Verifier {
    runtime: u32,
    runtime_file: Identity,
    pending: Vec<Pending>,
    known: Vec<Identity>,
    images: Vec<u64>,
    unsettled: Vec<u32>,
    /// Whether there were more of them than are remembered: from then on nobody counts as settled.
    lost_count: bool,
}

impl Verifier {
    /// For the process `runtime`, which is to run `runtime_file`.
    #[must_use]
    pub fn new(runtime: u32, runtime_file: Identity) -> Self {
        let mut known = Vec::with_capacity(MAX_KNOWN);
        known.push(runtime_file);
        let (pending, images) = (Vec::with_capacity(MAX_PENDING), Vec::with_capacity(MAX_IMAGES));
        Self { runtime, runtime_file, pending, known, images, unsettled: Vec::new(), lost_count: false }
    }

    /// Notes that `process` may now become `file`, which its user may read or not.
    ///
    /// # Errors
    /// `EAGAIN` where too many execs are under way, and the error of looking at what the process runs now.
    pub fn expect(&mut self, process: u32, file: Identity, readable: bool) -> Result<ExpectedExec, Errno> {
        let before = target::executable(process)?;
        self.know(file);
        self.unsettle(process);
        if let Some(known) = self.pending.iter_mut().find(|pending| pending.process == process) {
            if !known.allowed.iter().take(known.used).any(|allowed| *allowed == file) {
                *known.allowed.get_mut(known.used).ok_or(Errno(libc::EAGAIN))? = file;
                known.used += 1;
            }
            known.readable &= readable;
            (known.noted, known.looks, known.closed_since) = (Instant::now(), 0, None);
            return Ok(ExpectedExec::noted());
        }
        if self.pending.len() >= MAX_PENDING {
            return Err(Errno(libc::EAGAIN));
        }
        let mut allowed = [Identity::default(); MAX_ALLOWED];
        allowed[0] = file;
        let stack_before = target::stack_start(process);
        self.pending.push(Pending {
            process,
            before,
            stack_before,
            allowed,
            used: 1,
            noted: Instant::now(),
            looks: 0,
            readable,
            closed_since: None,
            condemned: false,
        });
        Ok(ExpectedExec::noted())
    }

    /// The exec of the child that is still our own code: one thread, before the function's first instruction, so
    /// nobody can change what it reads. What it became is judged at its first call like any other.
    #[must_use]
    pub fn expect_own() -> ExpectedExec {
        ExpectedExec::noted()
    }

    /// Notes an executable as one that may run.
    pub fn know(&mut self, file: Identity) {
        if !self.known.contains(&file) {
            if self.known.len() >= MAX_KNOWN {
                // The first is the runtime's own, which never goes.
                self.known.swap_remove(1);
            }
            self.known.push(file);
        }
    }

    /// Whether `process` can run nothing else than when it was looked at last: every exec that it was let go ahead with
    /// has been seen to take place.
    #[must_use]
    pub fn is_settled(&self, process: u32) -> bool {
        !self.lost_count && !self.unsettled.contains(&process)
    }

    fn unsettle(&mut self, process: u32) {
        if self.unsettled.contains(&process) {
            return;
        }
        if self.unsettled.len() >= MAX_UNSETTLED {
            let gone =
                |process| matches!(target::executable(process), Err(Errno::ENOENT | Errno(libc::ESRCH)));
            self.unsettled.retain(|process| !gone(*process));
        }
        self.lost_count |= self.unsettled.len() >= MAX_UNSETTLED;
        if !self.lost_count {
            self.unsettled.push(process);
        }
    }

    /// Looks at what `process` runs.
    pub fn look(&mut self, process: u32) -> Finding {
        let now = match target::executable(process) {
            Ok(now) => now,
            Err(Errno::ENOENT | Errno(libc::ESRCH)) => return Finding::Gone,
            Err(_) => return self.judge_closed(process),
        };
        let Some(at) = self.pending.iter().position(|pending| pending.process == process) else {
            return self.judge_settled(process, now);
        };
        if let Some(pending) = self.pending.get_mut(at) {
            pending.closed_since = None;
        }
        let Some(pending) = self.pending.get(at).copied() else { return Finding::Expected };
        if pending.condemned {
            return Finding::Condemned;
        }
        let allowed = pending.allowed.iter().take(pending.used).any(|allowed| *allowed == now);
        // Every exec makes a new stack, so one of the same file shows too.
        let same = now == pending.before && target::stack_start(process) == pending.stack_before;
        if allowed && !same {
            self.pending.swap_remove(at);
            self.accept(process, now);
            self.unsettled.retain(|known| *known != process);
        }
        if allowed || same { Finding::Expected } else { Finding::Unexpected(now) }
    }

    /// A process that may not be looked at. In the middle of an exec that is every one, for a moment; for good only one
    /// whose file may be run but not read.
    fn judge_closed(&mut self, process: u32) -> Finding {
        let Some(pending) = self.pending.iter_mut().find(|pending| pending.process == process) else {
            return Finding::Closed;
        };
        if pending.condemned {
            return Finding::Condemned;
        }
        let since = *pending.closed_since.get_or_insert_with(Instant::now);
        if pending.readable && since.elapsed() >= HIDDEN_AFTER { Finding::Hidden } else { Finding::Closed }
    }

    /// A process without an exec under way: a copy of one that was looked at, or one whose exec was never noticed.
    ///
    /// That it runs the runtime's file is not enough, or one that was swapped in and has forked before the first look
    /// would leave a copy behind that is taken for the runtime's. A fork has the stack of its parent; an exec has not.
    fn judge_settled(&mut self, process: u32, now: Identity) -> Finding {
        if !self.known.contains(&now) {
            return Finding::Unexpected(now);
        }
        if now != self.runtime_file || process == self.runtime {
            return Finding::Expected;
        }
        match target::stack_start(process) {
            // In the middle of an exec, or gone by now.
            0 => Finding::Closed,
            stack if self.images.contains(&stack) => Finding::Expected,
            stack if stack == target::stack_start(self.runtime) => {
                self.note_image(stack);
                Finding::Expected
            }
            _ => Finding::Unexpected(now),
        }
    }

    fn note_image(&mut self, stack: u64) {
        if self.images.len() >= MAX_IMAGES {
            self.images.swap_remove(1);
        }
        self.images.push(stack);
    }

    /// Notes that `process` may run `file`, and its copies too.
    pub fn accept(&mut self, process: u32, file: Identity) {
        self.know(file);
        let stack = if file == self.runtime_file { target::stack_start(process) } else { 0 };
        if stack != 0 && !self.images.contains(&stack) {
            self.note_image(stack);
        }
    }

    /// Notes that `process` is being killed. The signal takes its time: what the process asks for until it is gone is
    /// refused, whatever it seems to run.
    pub fn condemn(&mut self, process: u32) {
        self.forget(process);
        // The first is the one that is nearest to its last look.
        if self.pending.len() >= MAX_PENDING {
            self.pending.remove(0);
        }
        self.pending.push(Pending {
            process,
            before: Identity::default(),
            stack_before: 0,
            allowed: [Identity::default(); MAX_ALLOWED],
            used: 0,
            noted: Instant::now(),
            looks: 0,
            readable: false,
            closed_since: None,
            condemned: true,
        });
    }

    /// Forgets a process: it is gone, or was judged anew.
    pub fn forget(&mut self, process: u32) {
        self.pending.retain(|pending| pending.process != process);
        self.unsettled.retain(|known| *known != process);
    }

    /// The processes whose exec is under way, as far as is known.
    #[must_use]
    pub fn under_way(&self) -> Vec<u32> {
        self.pending.iter().map(|pending| pending.process).collect()
    }

    /// A process whose time for a look has come.
    pub fn due(&mut self, now: Instant) -> Option<u32> {
        self.pending.retain_mut(|pending| pending.goes_on(now));
        let due = self.pending.iter_mut().find(|pending| pending.next_look().is_some_and(|at| at <= now))?;
        due.looks += 1;
        Some(due.process)
    }

    /// The processes whose time for a look has come; it stays so.
    #[must_use]
    pub fn overdue(&self, now: Instant) -> Vec<u32> {
        let is_due = |pending: &&Pending| pending.next_look().is_some_and(|at| at <= now);
        self.pending.iter().filter(is_due).map(|pending| pending.process).collect()
    }

    /// How long until the next look, in milliseconds; `None` where no exec is under way.
    #[must_use]
    pub fn patience(&self, now: Instant) -> Option<i32> {
        let next = self.pending.iter().filter_map(Pending::next_look).min()?;
        let wait = next.saturating_duration_since(now).as_micros().div_ceil(1000);
        Some(i32::try_from(wait).unwrap_or(i32::MAX))
    }
}

impl Pending {
    /// Whether another look is worth it; at one that was killed, or should not be closed to looks, every few seconds.
    fn goes_on(&mut self, now: Instant) -> bool {
        let hides = self.readable && self.closed_since.is_some();
        if (self.condemned || hides) && self.looks >= LOOKS.len() {
            (self.noted, self.looks) = (now, LOOKS.len() - 1);
        }
        self.looks < LOOKS.len()
    }

    fn next_look(&self) -> Option<Instant> {
        LOOKS.get(self.looks).map(|after| self.noted + Duration::from_millis(*after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: Identity = Identity { device: 1, inode: 2 };
    const RUNTIME_FILE: Identity = Identity { device: 3, inode: 4 };

    fn verifier() -> Verifier {
        Verifier::new(u32::MAX - 1, RUNTIME_FILE)
    }

    #[test]
    fn a_copy_of_the_runtimes_file_is_the_runtimes_only_with_its_stack() {
        let own = std::process::id();
        let file = target::executable(own).unwrap();
        let mut verifier = Verifier::new(u32::MAX - 1, file);
        assert_eq!(verifier.look(own), Finding::Unexpected(file));
        verifier.accept(own, file);
        assert_eq!(verifier.look(own), Finding::Expected);
        assert_eq!(Verifier::new(own, file).look(own), Finding::Expected);
        let mut child =
            std::process::Command::new("/bin/cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        // A parent that runs the same file, as a stand-in for the runtime, and a child that came by an exec.
        let cat = loop {
            match target::executable(child.id()) {
                Ok(cat) if cat != file && target::stack_start(child.id()) != 0 => break cat,
                _ => std::thread::yield_now(),
            }
        };
        assert_eq!(Verifier::new(own, cat).look(child.id()), Finding::Unexpected(cat));
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_runs_what_nobody_allowed_is_found() {
        let own = std::process::id();
        let mut verifier = verifier();
        assert!(matches!(verifier.look(own), Finding::Unexpected(_)));
        verifier.know(target::executable(own).unwrap());
        assert_eq!(verifier.look(own), Finding::Expected);
    }

    #[test]
    fn before_the_exec_takes_place_nothing_is_wrong() {
        let own = std::process::id();
        let mut verifier = verifier();
        verifier.expect(own, OTHER, true).unwrap();
        assert_eq!(verifier.look(own), Finding::Expected);
        assert!(verifier.patience(Instant::now()).unwrap() <= 1);
    }

    #[test]
    fn looks_end_and_the_table_is_bounded() {
        let own = std::process::id();
        let mut verifier = verifier();
        verifier.expect(own, OTHER, true).unwrap();
        let later = Instant::now() + Duration::from_mins(1);
        assert_eq!((0..100).filter_map(|_| verifier.due(later)).count(), LOOKS.len());
        assert_eq!(verifier.patience(later), None);
        for inode in 0..MAX_ALLOWED as u64 {
            verifier.expect(own, Identity { device: 9, inode }, true).unwrap();
        }
        assert_eq!(verifier.expect(own, OTHER, true).unwrap_err(), Errno(libc::EAGAIN));
    }

    #[test]
    fn what_was_killed_stays_condemned_until_it_is_gone() {
        let own = std::process::id();
        let mut verifier = verifier();
        verifier.know(target::executable(own).unwrap());
        verifier.condemn(own);
        assert_eq!(verifier.look(own), Finding::Condemned);
        let later = Instant::now() + Duration::from_mins(1);
        assert_eq!((0..10).filter_map(|_| verifier.due(later)).count(), LOOKS.len());
        assert_eq!(verifier.look(own), Finding::Condemned);
        assert_eq!(verifier.due(later + Duration::from_secs(6)), Some(own));
        verifier.forget(own);
        assert_eq!(verifier.look(own), Finding::Expected);
    }

    #[test]
    fn a_process_is_unsettled_from_its_exec_until_that_is_seen_or_it_is_gone() {
        let (own, other) = (std::process::id(), u32::MAX);
        let mut verifier = verifier();
        assert!(verifier.is_settled(own));
        verifier.expect(own, OTHER, true).unwrap();
        assert!(!verifier.is_settled(own) && verifier.is_settled(other));
        // It does not take place, and after some looks nobody looks for it any more: it still may.
        assert_eq!(verifier.look(own), Finding::Expected);
        let later = Instant::now() + Duration::from_mins(1);
        while verifier.due(later).is_some() {}
        assert!(verifier.patience(later).is_none() && !verifier.is_settled(own));
        verifier.forget(own);
        assert!(verifier.is_settled(own));
    }

    #[test]
    fn who_counts_no_more_trusts_nobody() {
        let mut verifier = verifier();
        (2..1000).for_each(|nth| verifier.unsettle(u32::MAX - nth));
        assert!(verifier.is_settled(1), "those that are gone are not counted");
        verifier.unsettled = vec![std::process::id(); MAX_UNSETTLED];
        verifier.unsettle(u32::MAX);
        assert!(!verifier.is_settled(1) && verifier.unsettled.len() == MAX_UNSETTLED);
    }

    #[test]
    fn a_process_that_is_gone_is_no_finding() {
        assert_eq!(verifier().look(u32::MAX), Finding::Gone);
    }
}
