//! Whether an exec became what was allowed.
//!
//! The kernel reads the path again after it was judged, and another thread may have changed it by then. So each exec
//! that goes ahead is noted here with the file that was judged, and the process is looked at again: at its next
//! supervised call, and by a clock. A process that runs something else is judged anew by what it runs. Until the
//! first look forbidden code can compute, but reaches no supervised call. The mark stays until the exec has taken place or
//! has failed, however long the kernel takes: somebody else's lease on the file alone is three quarters of a minute.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::answer::ExpectedExec;
use super::lock::lock;
use super::numbers::Pinned;
use super::shares::Account;
use super::target;
use crate::sys::Errno;
use crate::sys::descriptor::Identity;

/// Execs that may be under way at one time; one more is refused for the moment.
const MAX_PENDING: usize = 256;
/// Processes that are being killed, beyond those.
const MAX_CONDEMNED: usize = 64;
/// Files that one process may be about to run, each from a thread of its own.
const MAX_ALLOWED: usize = 4;
/// Executables that were allowed at some time; a process that runs none of them is judged anew.
const MAX_KNOWN: usize = 256;
/// Images of the runtime's executable that may run: its own, and those of workers it was allowed to start.
const MAX_IMAGES: usize = 64;
/// How long a process may be closed to looks for being in the middle of its exec.
const HIDDEN_AFTER: Duration = Duration::from_millis(900);
/// Looks, of which none counts where something else is expected by then.
const MAX_LOOKS: u32 = 4;
/// How long a process may have no thread that stays for a look, while its exec is under way.
const UNSEEN_AFTER: Duration = Duration::from_millis(15);
/// Threads that look at processes at one time.
pub const MAX_LOOKERS: usize = 8;
/// When a process is looked at after its exec, in milliseconds; then again after as long as the last.
const LOOKS: [u64; 6] = [1, 5, 20, 100, 1000, 5000];

/// An exec that was judged: by which thread, and of which file, which its user may read or not.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Whose share of looks at processes it takes.
    pub account: Account,
    /// The thread that makes the call.
    pub thread: u32,
    /// The file that was judged.
    pub file: Identity,
    /// Whether the user may read it, so that what runs it can be looked at.
    pub readable: bool,
}

/// What a thread may run.
#[derive(Debug, Clone, Copy)]
struct Allowed {
    thread: u32,
    file: Identity,
}

#[derive(Debug)]
struct Pending {
    process: u32,
    account: Account,
    before: Image,
    allowed: Vec<Allowed>,
    noted: Instant,
    looks: usize,
    /// Whether the user may read the file, so that what runs it can be looked at.
    readable: bool,
    /// When it was first found to be closed to looks.
    closed_since: Option<Instant>,
    condemned: bool,
    /// The process that is being killed, where it could be pinned: the number may be another's before it is looked at again.
    pinned: Option<Pinned>,
    /// What is expected is this change of all that were made.
    changed: u64,
    /// Whether somebody is looking at it.
    watched: bool,
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
    /// Other threads of it ask for one exec after the other, so that nothing can be said.
    Restless,
}

/// What a look found, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What was found.
    pub finding: Finding,
    changed: Option<u64>,
}

/// What was expected of a process when it was looked at.
#[derive(Debug)]
struct Asked {
    changed: Option<u64>,
    threads: Vec<u32>,
    runtime: u32,
    runtime_file: Identity,
}

/// What a process runs, and on which stack: another one after each exec.
#[derive(Debug, Clone, Copy)]
pub struct Image {
    /// Its executable.
    pub file: Identity,
    /// Where its stack starts; 0 where that may not be seen.
    pub stack: u64,
}

impl Image {
    /// Looks at a process, without any lock: it may take its time.
    ///
    /// # Errors
    /// As [`target::executable`].
    pub fn of(process: u32) -> Result<Self, Errno> {
        // In this order: of an exec that takes place in between the file shows, or the same file's old stack.
        let stack = target::stack_start(process);
        target::executable(process).map(|file| Self { file, stack })
    }
}

/// What a process shows of itself.
#[derive(Debug)]
struct Sight {
    /// Whether there is nothing left to look at.
    is_gone: bool,
    /// Where its stack starts, if an exec of it is under way.
    stack: u64,
    runs: Result<Identity, Errno>,
    /// Where its stack, and the runtime's, start if it runs the runtime's file.
    image: u64,
    runtime_image: u64,
    /// The threads that are back from their exec, or gone, so that it has failed if the process runs what it ran before.
    returned: Vec<u32>,
}

impl Sight {
    fn of(process: u32, calling: Option<Calling<'_>>, asked: &Asked) -> Self {
        let is_back = |thread: &&u32| match calling {
            // It cannot be in the exec that is expected of it while it still waits for this call.
            Some(calling) => **thread == calling.thread && (calling.still_waits)(),
            None => target::is_back_from_exec(process, **thread),
        };
        // Before what it runs is looked at: a thread whose exec takes place in between has not failed, and has a new stack.
        let returned = asked.threads.iter().filter(is_back).copied().collect();
        let stack = asked.changed.map_or(0, |_| target::stack_start(process));
        let runs = target::executable(process);
        let is_copy = process != asked.runtime && runs == Ok(asked.runtime_file);
        let stack_of = |process, matters| if matters { target::stack_start(process) } else { 0 };
        let image = stack_of(process, runs == Ok(asked.runtime_file));
        let runtime_image = stack_of(asked.runtime, is_copy);
        let is_gone = matches!(runs, Err(Errno::ENOENT | Errno(libc::ESRCH))) && target::is_gone(process);
        Self { is_gone, stack, runs, image, runtime_image, returned }
    }
}

/// A thread that waits for an answer, as far as is known.
#[derive(Clone, Copy)]
pub struct Calling<'c> {
    /// The thread.
    pub thread: u32,
    /// Whether it still does.
    pub still_waits: &'c dyn Fn() -> bool,
}

/// Looks at what `process` runs; `calling` is the thread of it that waits for an answer, if one does.
///
/// A process can make looks at it take as long as it likes, and nobody else must wait for that: it is looked at without the
/// lock, and once more where something else is expected by then.
pub fn look(verifier: &Mutex<Verifier>, process: u32, calling: Option<Calling<'_>>) -> Seen {
    for _ in 0..MAX_LOOKS {
        let asked = lock(verifier).asked(process);
        let sight = Sight::of(process, calling, &asked);
        if let Some(seen) = lock(verifier).judge(process, &asked, &sight) {
            return seen;
        }
    }
    Seen { finding: Finding::Restless, changed: None }
}

/// The execs under way.
#[derive(Debug)]
pub struct Verifier {
    changes: u64,
    runtime: u32,
    runtime_file: Identity,
    pending: Vec<Pending>,
    known: Vec<Identity>,
    images: Vec<u64>,
}

impl Verifier {
    /// For the process `runtime`, which is to run `runtime_file`.
    #[must_use]
    pub fn new(runtime: u32, runtime_file: Identity) -> Self {
        let mut known = Vec::with_capacity(MAX_KNOWN);
        known.push(runtime_file);
        let (pending, images) = (Vec::with_capacity(MAX_PENDING), Vec::with_capacity(MAX_IMAGES));
        Self { changes: 0, runtime, runtime_file, pending, known, images }
    }

    /// Notes that `process`, which runs `before`, may now become what is expected.
    ///
    /// # Errors
    /// `EAGAIN` where too many execs are under way.
    pub fn expect(&mut self, process: u32, before: Image, expected: Expected) -> Result<ExpectedExec, Errno> {
        self.know(expected.file);
        self.changes += 1;
        let changes = self.changes;
        if let Some(known) = self.pending.iter_mut().find(|pending| pending.process == process) {
            known.allow(expected)?;
            (known.noted, known.looks, known.closed_since) = (Instant::now(), 0, None);
            known.changed = changes;
            return Ok(ExpectedExec::noted());
        }
        if self.pending.len() >= MAX_PENDING {
            return Err(Errno(libc::EAGAIN));
        }
        let Expected { thread, file, readable, account } = expected;
        let allowed = vec![Allowed { thread, file }];
        self.pending.push(Pending { before, allowed, readable, ..Pending::new(process, changes, account) });
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
    /// has been seen to take place, or to have failed.
    #[must_use]
    pub fn is_settled(&self, process: u32) -> bool {
        !self.pending.iter().any(|pending| pending.process == process)
    }

    fn position(&self, process: u32) -> Option<usize> {
        self.pending.iter().position(|pending| pending.process == process)
    }

    /// What is expected of `process` now.
    fn asked(&self, process: u32) -> Asked {
        let pending = self.position(process).and_then(|at| self.pending.get(at));
        Asked {
            runtime: self.runtime,
            runtime_file: self.runtime_file,
            changed: pending.map(|pending| pending.changed),
            threads: pending
                .map(|pending| pending.allowed.iter().map(|allowed| allowed.thread).collect())
                .unwrap_or_default(),
        }
    }

    /// What a sight of `process` means. `None` where something else is expected of it by now than when it was taken.
    fn judge(&mut self, process: u32, asked: &Asked, sight: &Sight) -> Option<Seen> {
        let at = self.position(process);
        let changed = at.and_then(|at| self.pending.get(at)).map(|pending| pending.changed);
        (changed == asked.changed).then(|| Seen { finding: self.find(process, at, sight), changed })
    }

    fn find(&mut self, process: u32, at: Option<usize>, sight: &Sight) -> Finding {
        let now = match sight.runs {
            Ok(now) => now,
            Err(_) if sight.is_gone => return Finding::Gone,
            Err(error) => return self.judge_closed(process, error),
        };
        let Some(pending) = at.and_then(|at| self.pending.get_mut(at)) else {
            return self.judge_settled(process, now, sight);
        };
        pending.closed_since = None;
        if pending.is_another_now() {
            self.forget(process);
            return self.judge_settled(process, now, sight);
        }
        if pending.condemned {
            return Finding::Condemned;
        }
        // Every exec makes a new stack, so one of the same file shows too.
        if now == pending.before.file && sight.stack == pending.before.stack {
            pending.allowed.retain(|allowed| !sight.returned.contains(&allowed.thread));
            if pending.allowed.is_empty() {
                self.forget(process);
            }
            return Finding::Expected;
        }
        if !pending.allowed.iter().any(|allowed| allowed.file == now) {
            return Finding::Unexpected(now);
        }
        self.forget(process);
        self.accept(Image { file: now, stack: sight.image });
        Finding::Expected
    }

    /// A process that may not be looked at. In the middle of an exec that is every one, for a moment; for good only one
    /// whose file may be run but not read. One of which no thread is there long enough to be looked at hides too.
    fn judge_closed(&mut self, process: u32, error: Errno) -> Finding {
        let Some(pending) = self.pending.iter_mut().find(|pending| pending.process == process) else {
            return Finding::Closed;
        };
        if pending.is_another_now() {
            self.forget(process);
            return Finding::Closed;
        }
        if pending.condemned {
            return Finding::Condemned;
        }
        let since = *pending.closed_since.get_or_insert_with(Instant::now);
        let (may_be, after) = match error {
            Errno::ENOENT | Errno(libc::ESRCH) => (true, UNSEEN_AFTER),
            _ => (pending.readable, HIDDEN_AFTER),
        };
        if may_be && since.elapsed() >= after { Finding::Hidden } else { Finding::Closed }
    }

    /// A process without an exec under way: a copy of one that was looked at, or one whose exec was never noticed.
    ///
    /// That it runs the runtime's file is not enough, or one that was swapped in and has forked before the first look
    /// would leave a copy behind that is taken for the runtime's. A fork has the stack of its parent; an exec has not.
    fn judge_settled(&mut self, process: u32, now: Identity, sight: &Sight) -> Finding {
        if !self.known.contains(&now) {
            return Finding::Unexpected(now);
        }
        if now != self.runtime_file || process == self.runtime {
            return Finding::Expected;
        }
        match sight.image {
            // In the middle of an exec, or gone by now.
            0 => Finding::Closed,
            stack if self.images.contains(&stack) => Finding::Expected,
            stack if stack == sight.runtime_image => {
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

    /// Notes that a process may run this, and its copies too.
    pub fn accept(&mut self, image: Image) {
        self.know(image.file);
        let Image { file, stack } = image;
        if file == self.runtime_file && stack != 0 && !self.images.contains(&stack) {
            self.note_image(stack);
        }
    }

    /// Notes that `process` is being killed. The signal takes its time: what the process asks for until it is gone is
    /// refused, whatever it seems to run.
    pub(super) fn condemn(&mut self, process: u32, pinned: Option<Pinned>) {
        let account = self.pending.iter().find(|pending| pending.process == process);
        let account = account.map_or(Account::Tree(process), |pending| pending.account);
        self.forget(process);
        let condemned = self.pending.iter().filter(|pending| pending.condemned).count();
        if condemned >= MAX_CONDEMNED
            && let Some(oldest) = self.pending.iter().position(|pending| pending.condemned)
        {
            self.pending.remove(oldest);
        }
        self.changes += 1;
        self.pending.push(Pending {
            condemned: true,
            pinned,
            ..Pending::new(process, self.changes, account)
        });
    }

    /// Forgets a process: it is gone, or was judged anew.
    pub fn forget(&mut self, process: u32) {
        self.pending.retain(|pending| pending.process != process);
    }

    /// Forgets a process, unless something else is expected of it than when it was seen.
    pub fn forget_seen(&mut self, process: u32, seen: Seen) {
        self.pending.retain(|pending| pending.process != process || Some(pending.changed) != seen.changed);
    }

    /// The processes whose exec is under way, as far as is known.
    #[must_use]
    pub fn under_way(&self) -> Vec<u32> {
        self.pending.iter().map(|pending| pending.process).collect()
    }

    /// A process whose time for a look has come, and at whom nobody else looks until [`Self::looked_at`]. Looks can be made to
    /// take their time, so no tree of processes has all who look.
    pub fn due(&mut self, now: Instant) -> Option<u32> {
        let at =
            self.pending.iter().position(|pending| pending.is_due(now) && self.may_be_looked_at(pending))?;
        let due = self.pending.get_mut(at)?;
        due.looks += 1;
        if due.looks >= LOOKS.len() {
            (due.noted, due.looks) = (now, LOOKS.len() - 1);
        }
        due.watched = true;
        Some(due.process)
    }

    fn may_be_looked_at(&self, pending: &Pending) -> bool {
        let watched = self.pending.iter().filter(|pending| pending.watched);
        pending.account.may_take_one(watched.map(|pending| pending.account), MAX_LOOKERS)
    }

    /// Notes that nobody looks at a process any more.
    pub fn looked_at(&mut self, process: u32) {
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.process == process) {
            pending.watched = false;
        }
    }

    /// Whether the time for a look has come.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.pending.iter().any(|pending| pending.is_due(now) && self.may_be_looked_at(pending))
    }

    /// How long until the next look, in milliseconds; `None` where no exec is under way.
    #[must_use]
    pub fn patience(&self, now: Instant) -> Option<i32> {
        let unwatched =
            self.pending.iter().filter(|pending| !pending.watched && self.may_be_looked_at(pending));
        let next = unwatched.map(Pending::next_look).min()?;
        let wait = next.saturating_duration_since(now).as_micros().div_ceil(1000);
        Some(i32::try_from(wait).unwrap_or(i32::MAX))
    }
}

impl Pending {
    fn new(process: u32, changed: u64, account: Account) -> Self {
        Self {
            process,
            account,
            changed,
            watched: false,
            before: Image { file: Identity::default(), stack: 0 },
            allowed: Vec::new(),
            noted: Instant::now(),
            looks: 0,
            readable: false,
            closed_since: None,
            condemned: false,
            pinned: None,
        }
    }

    /// Notes what one more thread may run. One that asks again has not become what it asked for before.
    fn allow(&mut self, expected: Expected) -> Result<(), Errno> {
        let Expected { thread, file, readable, .. } = expected;
        self.allowed.retain(|allowed| allowed.thread != thread);
        if self.allowed.len() >= MAX_ALLOWED {
            return Err(Errno(libc::EAGAIN));
        }
        self.allowed.push(Allowed { thread, file });
        self.readable &= readable;
        Ok(())
    }

    /// Whether what was condemned is gone, so that another process has its number.
    fn is_another_now(&self) -> bool {
        self.pinned.as_ref().is_some_and(|pinned| !pinned.is_there())
    }

    fn is_due(&self, now: Instant) -> bool {
        !self.watched && self.next_look() <= now
    }

    fn next_look(&self) -> Instant {
        self.noted + Duration::from_millis(LOOKS.get(self.looks).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: Identity = Identity { device: 1, inode: 2 };
    const RUNTIME_FILE: Identity = Identity { device: 3, inode: 4 };

    /// A thread that is not there.
    const NOBODY: u32 = u32::MAX / 2;

    impl Verifier {
        fn look(&mut self, process: u32, calling: Option<u32>) -> Finding {
            let asked = self.asked(process);
            let sight = Sight::of(process, calling.map(waiting), &asked);
            self.judge(process, &asked, &sight).unwrap().finding
        }

        /// Somebody has looked whose time had come.
        fn look_if_due(&mut self, now: Instant) -> Option<u32> {
            let process = self.due(now)?;
            assert!(!self.is_due(now) || self.pending.len() > 1, "one at a time");
            self.looked_at(process);
            Some(process)
        }
    }

    fn waiting(thread: u32) -> Calling<'static> {
        Calling { thread, still_waits: &|| true }
    }

    const fn exec(thread: u32) -> Expected {
        Expected { account: Account::Tree(1), thread, file: OTHER, readable: true }
    }

    fn verifier() -> Verifier {
        Verifier::new(u32::MAX - 1, RUNTIME_FILE)
    }

    #[test]
    fn a_copy_of_the_runtimes_file_is_the_runtimes_only_with_its_stack() {
        let own = std::process::id();
        let file = target::executable(own).unwrap();
        let mut verifier = Verifier::new(u32::MAX - 1, file);
        assert_eq!(verifier.look(own, None), Finding::Unexpected(file));
        verifier.accept(Image { file, stack: target::stack_start(own) });
        assert_eq!(verifier.look(own, None), Finding::Expected);
        assert_eq!(Verifier::new(own, file).look(own, None), Finding::Expected);
        let mut child =
            std::process::Command::new("/bin/cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        // A parent that runs the same file, as a stand-in for the runtime, and a child that came by an exec.
        let cat = loop {
            match target::executable(child.id()) {
                Ok(cat) if cat != file && target::stack_start(child.id()) != 0 => break cat,
                _ => std::thread::yield_now(),
            }
        };
        assert_eq!(Verifier::new(own, cat).look(child.id(), None), Finding::Unexpected(cat));
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_runs_what_nobody_allowed_is_found() {
        let own = std::process::id();
        let mut verifier = verifier();
        assert!(matches!(verifier.look(own, None), Finding::Unexpected(_)));
        verifier.know(target::executable(own).unwrap());
        assert_eq!(verifier.look(own, None), Finding::Expected);
    }

    /// A verifier that knows what this process runs, and this process's first thread is in the middle of an exec of
    /// something else.
    fn in_the_middle() -> (u32, Verifier) {
        let own = std::process::id();
        let mut verifier = verifier();
        verifier.know(target::executable(own).unwrap());
        verifier.expect(own, Image::of(own).unwrap(), exec(NOBODY)).unwrap();
        (own, verifier)
    }

    /// The same, and it became what it runs now.
    fn became(verifier: &mut Verifier) {
        verifier.pending[0].before.file = OTHER;
    }

    #[test]
    fn before_the_exec_takes_place_nothing_is_wrong() {
        let (own, mut verifier) = in_the_middle();
        assert_eq!(verifier.look(own, Some(own)), Finding::Expected);
        assert!(verifier.patience(Instant::now()).unwrap() <= 1);
    }

    #[test]
    fn an_exec_may_take_its_time_and_is_judged_by_what_was_allowed_for_it() {
        let (own, mut verifier) = in_the_middle();
        let mut now = Instant::now();
        for _ in 0..100 {
            now += Duration::from_secs(6);
            assert_eq!(verifier.look_if_due(now), Some(own));
            assert_eq!(verifier.look(own, Some(own)), Finding::Expected);
        }
        assert!(!verifier.is_settled(own));
        became(&mut verifier);
        assert!(matches!(verifier.look(own, None), Finding::Unexpected(_)), "though it was allowed before");
    }

    #[test]
    fn looks_grow_rare_and_the_table_is_bounded() {
        let (own, mut verifier) = in_the_middle();
        let later = Instant::now() + Duration::from_mins(1);
        assert_eq!((0..100).map_while(|_| verifier.look_if_due(later)).count(), LOOKS.len());
        assert_eq!(verifier.patience(later), Some(5000));
        for thread in (NOBODY + 1..).take(MAX_ALLOWED - 1) {
            verifier.expect(own, Image::of(own).unwrap(), exec(thread)).unwrap();
        }
        verifier.expect(own, Image::of(own).unwrap(), exec(NOBODY)).unwrap();
        assert_eq!(verifier.expect(own, Image::of(own).unwrap(), exec(1)).unwrap_err(), Errno(libc::EAGAIN));
    }

    #[test]
    fn what_was_killed_stays_condemned_until_it_is_gone() {
        let (own, mut verifier) = in_the_middle();
        verifier.condemn(own, None);
        assert_eq!(verifier.look(own, Some(own)), Finding::Condemned);
        let later = Instant::now() + Duration::from_mins(1);
        assert_eq!((0..10).map_while(|_| verifier.look_if_due(later)).count(), LOOKS.len());
        assert_eq!(verifier.look(own, None), Finding::Condemned);
        assert_eq!(verifier.look_if_due(later + Duration::from_secs(6)), Some(own));
        verifier.forget(own);
        assert_eq!(verifier.look(own, None), Finding::Expected);
        (0..1000).for_each(|process| verifier.condemn(process, None));
        assert_eq!(verifier.pending.len(), MAX_CONDEMNED);
    }

    #[test]
    fn who_gets_the_number_of_one_that_was_killed_is_not_condemned() {
        let (own, mut verifier) = in_the_middle();
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pinned = Pinned::of(child.id()).ok();
        verifier.condemn(own, pinned.clone());
        assert_eq!(verifier.look(own, None), Finding::Condemned, "until it is reaped");
        child.wait().unwrap();
        let expected = if pinned.is_some() { Finding::Expected } else { Finding::Condemned };
        assert_eq!(verifier.look(own, None), expected);
    }

    #[test]
    fn a_process_is_unsettled_until_each_of_its_execs_was_seen_or_has_failed() {
        let (own, mut verifier) = in_the_middle();
        verifier.expect(own, Image::of(own).unwrap(), exec(NOBODY + 1)).unwrap();
        assert!(!verifier.is_settled(own) && verifier.is_settled(NOBODY));
        assert_eq!(verifier.look(own, Some(NOBODY)), Finding::Expected, "one is back with another call");
        assert!(!verifier.is_settled(own));
        assert_eq!(verifier.look(own, Some(NOBODY + 1)), Finding::Expected);
        assert!(verifier.is_settled(own));
    }

    #[test]
    fn a_thread_that_is_not_in_an_exec_any_more_is_found_by_the_clock() {
        let (own, mut verifier) = in_the_middle();
        // A thread that is gone; the first waits for this one most of the time.
        while !verifier.is_settled(own) {
            assert_eq!(verifier.look(own, None), Finding::Expected);
        }
        let mut child =
            std::process::Command::new("/bin/cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        while !target::is_back_from_exec(child.id(), child.id()) {
            std::thread::yield_now();
        }
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn what_is_expected_since_it_was_seen_is_neither_judged_by_that_nor_forgotten() {
        let (own, mut verifier) = in_the_middle();
        let asked = verifier.asked(own);
        let gone = Calling { thread: NOBODY, still_waits: &|| false };
        assert_eq!(Sight::of(own, Some(gone), &asked).returned, [0; 0], "its call may be the exec by now");
        let sight = Sight::of(own, Some(waiting(NOBODY)), &asked);
        let seen = verifier.judge(own, &asked, &sight).unwrap();
        assert!(verifier.is_settled(own), "the exec has failed");
        let runs = Image::of(own).unwrap();
        verifier.expect(own, runs, exec(NOBODY)).unwrap();
        assert_eq!(verifier.judge(own, &asked, &sight), None, "the same thread has asked again");
        verifier.forget_seen(own, seen);
        assert!(!verifier.is_settled(own));
        let asked = verifier.asked(own);
        let seen = verifier.judge(own, &asked, &Sight::of(own, None, &asked)).unwrap();
        verifier.expect(own, runs, exec(NOBODY + 1)).unwrap();
        verifier.forget_seen(own, seen);
        assert!(!verifier.is_settled(own), "another thread has asked");
        verifier.forget(own);
        assert!(verifier.is_settled(own));
    }

    #[test]
    fn what_has_no_thread_that_stays_for_a_look_hides() {
        let (own, mut verifier) = in_the_middle();
        let asked = verifier.asked(own);
        let unseen = Sight { runs: Err(Errno::ENOENT), ..Sight::of(own, None, &asked) };
        let find = |verifier: &mut Verifier| verifier.judge(own, &asked, &unseen).unwrap().finding;
        assert_eq!(find(&mut verifier), Finding::Closed, "for the moment");
        assert!(!verifier.is_settled(own));
        verifier.pending[0].closed_since = Instant::now().checked_sub(UNSEEN_AFTER);
        assert_eq!(find(&mut verifier), Finding::Hidden);
        let gone = Sight { is_gone: true, ..unseen };
        assert_eq!(verifier.judge(own, &asked, &gone).unwrap().finding, Finding::Gone);
    }

    #[test]
    fn no_tree_has_all_who_look() {
        let mut verifier = verifier();
        let mut expect = |process, tree| {
            let image = Image::of(std::process::id()).unwrap();
            verifier
                .expect(process, image, Expected { account: Account::Tree(tree), ..exec(process) })
                .unwrap();
        };
        (1..=20).for_each(|process| expect(process, 7));
        (21..=40).for_each(|process| expect(process, 8));
        let later = Instant::now() + Duration::from_secs(6);
        let due: Vec<_> = (0..40).map_while(|_| verifier.due(later)).collect();
        assert_eq!(due, [1, 2, 3, 21, 22]);
        assert!(!verifier.is_due(later) && verifier.patience(later).is_none());
        verifier.looked_at(1);
        verifier.looked_at(2);
        assert!(verifier.is_due(later));
    }

    #[test]
    fn a_process_that_is_gone_is_no_finding() {
        assert_eq!(verifier().look(u32::MAX, None), Finding::Gone);
    }
}
