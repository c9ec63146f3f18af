//! Who takes calls and who is held up by one: threads, in the place of one that a target keeps waiting.
//!
//! One thread at a time takes calls and answers them itself, which is cheaper than to hand each one on. But a target can keep
//! the guard waiting in any system call that is about the target: a copy of memory whose lock somebody holds at idle
//! priority, a look-up in a folder that is being changed, a descriptor that the target must put into its table itself. So
//! the thread that waits for everything else looks every few milliseconds whether the one that answers is still at the same
//! call, and has another one take calls if so. Whoever has held a thread up is suspected for a while: his calls are handed
//! on, and wait, once he holds up as many threads as he may. Whoever watches asks no target for anything, nor `/proc` by a
//! path: its folders can be kept locked too. So whose call it was that holds a thread up is found out by a spare one.
//!
//! It decides nothing about calls; `threads` calls it.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::lock::lock;
use super::shares::Account;
use super::verify::MAX_LOOKERS;
use crate::sys::descriptor::{Alarm, Timer};
use crate::sys::seccomp::Notification;

/// How often it is looked whether the thread that answers is still at the same call.
const TICK: Duration = Duration::from_millis(5);
/// The same while somebody holds up a thread: who has one that does may have many.
const QUICK_TICK: Duration = Duration::from_millis(1);
/// Threads that may be held up at one time.
const MAX_APART: usize = 128;
/// Calls that wait for a thread. A function has fewer threads that could make one.
const MAX_PARKED: usize = 2048;
/// How long somebody who has held up a thread is suspected.
const SUSPICION: Duration = Duration::from_secs(1);
const MAX_SUSPECTS: usize = 64;
/// Threads that look at callers that wait for workers, and how long one may take before there is another.
const MAX_WATCHERS: usize = 4;
const MAX_WATCH: Duration = Duration::from_secs(1);
/// Threads that stay though there is nothing for them to do.
pub(super) const MAX_IDLE: usize = 4;
/// Ticks after which one counts as held up that may only want for a processor, or that is known to.
const PATIENCE: u32 = 4;
const MAX_PATIENCE: u32 = 20;
/// Threads that children may hold up, of all trees.
const MAX_OF_CHILDREN: usize = MAX_APART / 4 * 3;
/// Threads that find out whose calls hold others up.
const MAX_LEARNERS: usize = 4;
/// How long a thread may be kept by a call for which nobody waits any more before that is interrupted.
const MAX_ABANDONED: Duration = Duration::from_secs(1);

/// What a thread does next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// Takes calls and answers them.
    Receive,
    /// Answers one call.
    Answer(Notification, Ticket),
    /// Finds out whose calls hold threads up.
    Learn,
    /// Looks at processes whose time has come.
    Look,
    /// Looks which of the sockets that the guard keeps are still used.
    Sweep,
    /// Looks whether somebody still waits for the workers.
    LookAtWaiting,
    /// Says that the agent is gone.
    TellLoss,
}

/// The number of a call that is answered by a thread which does not take calls.
pub(super) type Ticket = u64;

/// A call that keeps a thread, or might.
#[derive(Debug)]
struct Apart {
    ticket: Ticket,
    /// The call, and the thread that makes it.
    id: u64,
    caller: u32,
    /// Whose it is; of a tree of its own while that is not known.
    account: Account,
    is_known: bool,
    /// The thread of the guard that it keeps; 0 before it has one.
    member: u32,
    since: Instant,
}

#[derive(Debug)]
struct Parked {
    call: Notification,
    account: Account,
    is_known: bool,
}

#[derive(Debug, Default)]
struct State {
    work: VecDeque<Work>,
    apart: Vec<Apart>,
    parked: VecDeque<Parked>,
    suspects: VecDeque<(Account, Instant)>,
    idle: usize,
    /// The thread that takes calls, and what tells whether it wants for a processor.
    receiver: (u32, Option<Arc<File>>),
    /// The call that was seen last, and at how many ticks.
    seen: (Ticket, u32),
    last_tick: Option<Instant>,
    learners: usize,
    lookers: usize,
    last_look: Option<Instant>,
    /// Threads that look at callers that wait for workers, and when the last of them began.
    watchers: (usize, Option<Instant>),
}

impl State {
    fn has_share(&self, account: Account) -> bool {
        account.may_take_one(self.apart.iter().map(|apart| apart.account), MAX_APART)
    }

    fn is_full_of_children(&self) -> bool {
        self.apart.iter().filter(|apart| !apart.account.is_runtime()).count() >= MAX_OF_CHILDREN
    }

    /// Whether a call of the same thread keeps somebody: its next must not be answered before that.
    fn is_still_at(&self, caller: u32) -> bool {
        self.apart.iter().any(|apart| apart.caller == caller)
    }

    /// Whether there is a thread for one more piece of work.
    fn is_staffed(&self, staff: impl FnOnce() -> bool) -> bool {
        self.idle > self.work.len() || staff()
    }

    fn suspect(&mut self, account: Account, now: Instant) {
        self.suspects.retain(|(suspect, _)| *suspect != account);
        if self.suspects.len() >= MAX_SUSPECTS {
            self.suspects.pop_front();
        }
        self.suspects.push_back((account, now + SUSPICION));
    }

    fn is_suspect(&self, account: Account) -> bool {
        self.suspects.iter().any(|(suspect, _)| *suspect == account)
            || self.apart.iter().any(|apart| apart.account == account)
    }

    /// A call that waits and whose caller may have a thread for it now.
    fn unpark(&mut self) -> Option<Parked> {
        let may = |parked: &Parked| {
            self.has_share(parked.account)
                && !self.is_still_at(parked.call.thread)
                && (parked.account.is_runtime() || !self.is_full_of_children())
        };
        let at = self.parked.iter().position(may)?;
        self.parked.remove(at)
    }

    fn is_quiet(&mut self, now: Instant) -> bool {
        self.suspects.retain(|(_, until)| *until > now);
        self.suspects.is_empty() && self.apart.is_empty() && self.parked.is_empty()
    }

    fn set_apart(&mut self, ticket: Ticket, parked: &Parked, member: u32) {
        let Parked { call, account, is_known } = parked;
        let (id, caller, since) = (call.id, call.thread, Instant::now());
        self.apart.push(Apart { ticket, id, caller, account: *account, is_known: *is_known, member, since });
    }
}

/// What becomes of a call that was just taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Whoever took it answers it.
    Here,
    /// Another thread does, at once or when it is the caller's turn.
    Elsewhere,
    /// There is no room for it.
    Nowhere,
}

/// The threads that answer, seen from outside.
#[derive(Debug)]
pub(super) struct Crew {
    /// The call that the thread which takes calls is at; 0 while it waits for one.
    at: AtomicU64,
    tickets: AtomicU64,
    /// The number of that call, and the thread that makes it.
    id: AtomicU64,
    caller: AtomicU32,
    /// Whether somebody will look at the next tick.
    watched: AtomicBool,
    /// Whether not every call is answered where it is taken.
    careful: AtomicBool,
    state: Mutex<State>,
    there_is_work: Condvar,
    timer: Option<Timer>,
}

/// A tree of its own for a child whose tree is not known.
const fn nobodys(caller: u32) -> Account {
    Account::Tree(caller)
}

impl Crew {
    /// Nobody yet.
    pub(super) fn new() -> Self {
        Self {
            at: AtomicU64::new(0),
            tickets: AtomicU64::new(0),
            id: AtomicU64::new(0),
            caller: AtomicU32::new(0),
            watched: AtomicBool::new(false),
            careful: AtomicBool::new(false),
            state: Mutex::default(),
            there_is_work: Condvar::new(),
            timer: Timer::new().ok(),
        }
    }

    /// What rings at a tick; where there is none, who waits must look at the clock ([`Self::needs_clock`]).
    pub(super) const fn timer(&self) -> Option<&Timer> {
        self.timer.as_ref()
    }

    /// Whether the clock must be looked at every tick, since there is no timer.
    pub(super) fn needs_clock(&self) -> bool {
        self.timer.is_none() && self.watched.load(Ordering::SeqCst)
    }

    /// Whether somebody is looking at processes.
    pub(super) fn is_looking(&self) -> bool {
        lock(&self.state).lookers > 0
    }

    fn ticket(&self) -> Ticket {
        self.tickets.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Says that the thread `receiver` is the one that takes calls. `stat` is its own `/proc/thread-self/stat`, if it could
    /// open that while nobody could keep it from it.
    pub(super) fn receives(&self, receiver: u32, stat: Option<Arc<File>>) {
        lock(&self.state).receiver = (receiver, stat);
    }

    /// Says that a call is being seen to by the thread that took it. `alarm` wakes who looks, where there is no timer.
    pub(super) fn begin(&self, call: &Notification, alarm: Option<&Alarm>) -> Ticket {
        let ticket = self.ticket();
        self.caller.store(call.thread, Ordering::Relaxed);
        self.id.store(call.id, Ordering::Relaxed);
        self.at.store(ticket, Ordering::SeqCst);
        if !self.watched.load(Ordering::SeqCst) {
            self.watched.store(true, Ordering::SeqCst);
            match (&self.timer, alarm) {
                (Some(timer), _) => timer.set(TICK),
                (None, Some(alarm)) => alarm.ring(),
                (None, None) => {}
            }
        }
        ticket
    }

    /// Says that the call was seen to. False where another thread takes calls by now; then [`Self::next`] must be told.
    #[must_use]
    pub(super) fn end(&self, ticket: Ticket) -> bool {
        self.at.compare_exchange(ticket, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Whether the next call may be one to hand on.
    pub(super) fn is_careful(&self) -> bool {
        self.careful.load(Ordering::Acquire)
    }

    /// Says who answers the call that has just begun. `account_of` says whose it is, of a child (`runtime` is `None`); that
    /// may take its time. `staff` sees to it that there is a thread for it.
    pub(super) fn place(
        &self,
        (ticket, call): (Ticket, &Notification),
        runtime: Option<Account>,
        account_of: impl FnOnce() -> Account,
        staff: impl Fn() -> bool,
    ) -> Place {
        let mut state = lock(&self.state);
        if state.is_quiet(Instant::now()) {
            self.careful.store(false, Ordering::Release);
            return Place::Here;
        }
        let unknown = Parked { call: *call, account: nobodys(call.thread), is_known: false };
        // The last thread that could take this one's place is not for a child to hold up too.
        let is_last = runtime.is_none() && !state.apart.is_empty() && !state.is_staffed(&staff);
        if is_last || state.is_still_at(call.thread) || (runtime.is_none() && state.is_full_of_children()) {
            let parked = runtime.map_or(unknown, |account| Parked { call: *call, account, is_known: true });
            return Self::park(&mut state, parked);
        }
        drop(state);
        let account = runtime.unwrap_or_else(account_of);
        let mut state = lock(&self.state);
        if self.at.load(Ordering::SeqCst) != ticket {
            // It was held up by just that, and is one that another thread has taken the place of.
            return Place::Here;
        }
        let parked = Parked { call: *call, account, is_known: true };
        if !state.has_share(account) {
            return Self::park(&mut state, parked);
        }
        if !state.is_suspect(account) || !state.is_staffed(&staff) {
            return Place::Here;
        }
        let ticket = self.ticket();
        state.set_apart(ticket, &parked, 0);
        self.give(&mut state, Work::Answer(*call, ticket));
        Place::Elsewhere
    }

    fn park(state: &mut State, parked: Parked) -> Place {
        if state.parked.len() >= MAX_PARKED {
            return Place::Nowhere;
        }
        state.parked.push_back(parked);
        Place::Elsewhere
    }

    fn give(&self, state: &mut MutexGuard<'_, State>, work: Work) {
        state.work.push_back(work);
        self.there_is_work.notify_one();
    }

    /// Has somebody take calls, for the first time or because nobody does any more.
    pub(super) fn appoint_receiver(&self) {
        self.give(&mut lock(&self.state), Work::Receive);
    }

    /// Looks whether the thread that takes calls is held up, and has another one take its place. `runtime_of` says whether a
    /// caller is of the runtime, `wants_processor` whether a thread of ours waits for nothing else, as far as that can be
    /// told; `staff` sees to it that there is a thread for it. None of them may wait for anybody.
    pub(super) fn look(
        &self,
        runtime_of: impl FnOnce(u32) -> Option<Account>,
        wants_processor: impl FnOnce(&File) -> bool,
        staff: impl Fn() -> bool,
    ) {
        if !self.watched.load(Ordering::SeqCst) {
            return;
        }
        let mut state = lock(&self.state);
        let now = Instant::now();
        let tick = if self.is_careful() { QUICK_TICK } else { TICK };
        if state.last_tick.is_some_and(|last| now.duration_since(last) < tick / 2) {
            self.set_timer(tick);
            return;
        }
        state.last_tick = Some(now);
        let mut at = self.at.load(Ordering::SeqCst);
        if at == 0 {
            // The next call sets the timer, unless it has begun by now and saw it set.
            self.watched.store(false, Ordering::SeqCst);
            at = self.at.load(Ordering::SeqCst);
            if at == 0 {
                return;
            }
            self.watched.store(true, Ordering::SeqCst);
        }
        let ticks = if state.seen.0 == at { state.seen.1 + 1 } else { 0 };
        state.seen = (at, ticks);
        let patience = match &state.receiver.1 {
            _ if ticks == 0 => u32::MAX,
            None => PATIENCE,
            Some(stat) if wants_processor(stat) => MAX_PATIENCE,
            Some(_) => 0,
        };
        if ticks >= patience && state.apart.len() < MAX_APART && state.is_staffed(&staff) {
            let caller = self.caller.load(Ordering::Relaxed);
            let (id, member) = (self.id.load(Ordering::Relaxed), state.receiver.0);
            let of_runtime = runtime_of(caller);
            // Under the lock: who ends meanwhile is told by `end` that he was replaced, and finds his call in the list.
            if self.end(at) {
                let (account, is_known) = (of_runtime.unwrap_or(nobodys(caller)), of_runtime.is_some());
                state.apart.push(Apart { ticket: at, id, caller, account, is_known, member, since: now });
                self.careful.store(true, Ordering::Release);
                state.work.push_front(Work::Receive);
                self.there_is_work.notify_one();
                if is_known {
                    state.suspect(account, now);
                } else if state.learners < MAX_LEARNERS && state.is_staffed(&staff) {
                    state.learners += 1;
                    self.give(&mut state, Work::Learn);
                }
            }
        }
        self.set_timer(tick);
    }

    fn set_timer(&self, after: Duration) {
        if let Some(timer) = &self.timer {
            timer.set(after);
        }
    }

    /// A call that keeps a thread and of which it is not known whose it is; `None` ends the search.
    pub(super) fn unknown(&self, tried: &[Ticket]) -> Option<(Ticket, u32)> {
        let mut state = lock(&self.state);
        let unknown = state.apart.iter().find(|apart| !apart.is_known && !tried.contains(&apart.ticket));
        let found = unknown.map(|apart| (apart.ticket, apart.caller));
        if found.is_none() {
            state.learners = state.learners.saturating_sub(1);
        }
        found
    }

    /// Notes whose call it is that keeps a thread.
    pub(super) fn learn(&self, ticket: Ticket, account: Account) {
        let mut state = lock(&self.state);
        if let Some(apart) = state.apart.iter_mut().find(|apart| apart.ticket == ticket) {
            (apart.account, apart.is_known) = (account, true);
        }
        state.suspect(account, Instant::now());
    }

    /// The threads that calls keep for which nobody waits any more, as `still_waits` says.
    pub(super) fn abandoned(&self, still_waits: impl Fn(u64) -> bool) -> Vec<u32> {
        let old: Vec<_> = {
            let state = lock(&self.state);
            let old = state.apart.iter().filter(|apart| apart.since.elapsed() >= MAX_ABANDONED);
            old.map(|apart| (apart.id, apart.member)).collect()
        };
        old.into_iter()
            .filter(|(id, member)| *member != 0 && !still_waits(*id))
            .map(|(_, member)| member)
            .collect()
    }

    /// Has somebody look at processes, unless somebody has just begun to. `staff` as for [`Self::look`].
    pub(super) fn have_processes_looked_at(&self, staff: impl FnOnce() -> bool) {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let has_time = state.last_look.is_none_or(|last| now.duration_since(last) >= 2 * TICK);
        let may = state.lookers == 0 || (state.lookers < MAX_LOOKERS && has_time);
        if may && state.is_staffed(staff) {
            state.lookers += 1;
            state.last_look = Some(now);
            self.give(&mut state, Work::Look);
        }
    }

    /// Notes that somebody has looked at processes.
    pub(super) fn have_looked(&self) {
        let mut state = lock(&self.state);
        state.lookers = state.lookers.saturating_sub(1);
    }

    /// Has somebody look at the callers that wait for workers, unless somebody does. `staff` as for [`Self::look`].
    pub(super) fn have_waiting_looked_at(&self, staff: impl FnOnce() -> bool) {
        let mut state = lock(&self.state);
        let (count, begun) = state.watchers;
        let is_late = begun.is_none_or(|begun| begun.elapsed() >= MAX_WATCH);
        if (count == 0 || (count < MAX_WATCHERS && is_late)) && state.is_staffed(staff) {
            state.watchers = (count + 1, Some(Instant::now()));
            self.give(&mut state, Work::LookAtWaiting);
        }
    }

    /// Notes that somebody has looked at the callers that wait.
    pub(super) fn have_watched(&self) {
        let mut state = lock(&self.state);
        state.watchers.0 = state.watchers.0.saturating_sub(1);
    }

    /// Has somebody say that the agent is gone. Where there can be nobody the next report does so. `staff` as for [`Self::look`].
    pub(super) fn have_loss_told(&self, staff: impl FnOnce() -> bool) {
        let mut state = lock(&self.state);
        if state.is_staffed(staff) {
            self.give(&mut state, Work::TellLoss);
        }
    }

    /// Has somebody sweep the sockets that are kept. `staff` as for [`Self::look`]. False where there can be nobody.
    pub(super) fn have_sockets_swept(&self, staff: impl FnOnce() -> bool) -> bool {
        let mut state = lock(&self.state);
        let is_given = state.work.iter().any(|work| matches!(work, Work::Sweep));
        if !is_given && !state.is_staffed(staff) {
            return false;
        }
        if !is_given {
            self.give(&mut state, Work::Sweep);
        }
        true
    }

    /// What `thread` does next, which has answered call `done` if that was not one of many. `None` where there are enough
    /// threads without it.
    pub(super) fn next(&self, thread: u32, done: Option<Ticket>) -> Option<Work> {
        let mut state = lock(&self.state);
        if let Some(at) = done.and_then(|done| state.apart.iter().position(|apart| apart.ticket == done)) {
            let Apart { account, since, is_known, .. } = state.apart.swap_remove(at);
            let now = Instant::now();
            if is_known && now.duration_since(since) >= TICK {
                state.suspect(account, now);
            }
        }
        loop {
            if let Some(work) = state.work.pop_front() {
                if let Work::Answer(_, ticket) = work
                    && let Some(apart) = state.apart.iter_mut().find(|apart| apart.ticket == ticket)
                {
                    apart.member = thread;
                }
                return Some(work);
            }
            if let Some(parked) = state.unpark() {
                let ticket = self.ticket();
                state.set_apart(ticket, &parked, thread);
                return Some(Work::Answer(parked.call, ticket));
            }
            if state.idle >= MAX_IDLE {
                return None;
            }
            state.idle += 1;
            state = self.there_is_work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHILD: Account = Account::Tree(7);
    const RUNTIME: Account = Account::Runtime(1);

    /// A call by a thread of its own.
    fn call(id: u64) -> Notification {
        let mut call = Notification::default();
        (call.id, call.thread) = (id, 1000 + u32::try_from(id).unwrap());
        call
    }

    const fn in_runtime(account: Account) -> Option<Account> {
        if account.is_runtime() { Some(account) } else { None }
    }

    impl Crew {
        /// One tick later.
        fn tick(&self, of: Account) {
            lock(&self.state).last_tick = None;
            self.look(|_| in_runtime(of), |_| false, || true);
            if let Some((ticket, _)) = self.unknown(&[]) {
                self.learn(ticket, of);
            }
        }

        fn takes_over(&self, of: Account) -> Option<Ticket> {
            let ticket = self.begin(&call(999), None);
            for _ in 0..=PATIENCE {
                self.tick(of);
            }
            (!self.end(ticket)).then_some(ticket)
        }

        fn work(&self) -> Vec<Work> {
            lock(&self.state).work.drain(..).collect()
        }

        fn places(&self, id: u64, account: Account) -> Place {
            let ticket = self.begin(&call(id), None);
            let place = self.place((ticket, &call(id)), in_runtime(account), || account, || true);
            assert!(self.end(ticket));
            place
        }
    }

    fn stat() -> Arc<File> {
        Arc::new(File::open("/proc/self/stat").unwrap())
    }

    #[test]
    fn who_is_at_the_same_call_for_two_ticks_and_waits_is_replaced_and_told_so() {
        let crew = Crew::new();
        crew.receives(7, Some(stat()));
        let ticket = crew.begin(&call(1), None);
        crew.tick(CHILD);
        assert!(crew.work().is_empty(), "it may have just begun");
        crew.tick(CHILD);
        assert!(matches!(crew.work()[..], [Work::Receive, Work::Learn]));
        assert!(!crew.end(ticket));
        assert!(crew.is_careful());
        crew.tick(CHILD);
        assert!(crew.work().is_empty(), "nobody is at a call now");
    }

    #[test]
    fn who_is_at_another_call_each_time_is_not_replaced() {
        let crew = Crew::new();
        for _ in 0..10 {
            let ticket = crew.begin(&call(1), None);
            crew.tick(CHILD);
            assert!(crew.end(ticket));
        }
        assert!(crew.work().is_empty() && !crew.is_careful());
    }

    #[test]
    fn who_only_wants_a_processor_is_left_alone_for_a_while() {
        let crew = Crew::new();
        crew.receives(7, Some(stat()));
        crew.begin(&call(1), None);
        let looks = (0..100).take_while(|_| {
            lock(&crew.state).last_tick = None;
            crew.look(|_| None, |_| true, || true);
            crew.work().is_empty()
        });
        assert_eq!(looks.count(), MAX_PATIENCE as usize);
    }

    #[test]
    fn without_a_thread_for_it_nobody_is_replaced() {
        let crew = Crew::new();
        let ticket = crew.begin(&call(1), None);
        for _ in 0..5 {
            lock(&crew.state).last_tick = None;
            crew.look(|_| None, |_| false, || false);
        }
        assert!(crew.end(ticket));
    }

    #[test]
    fn the_timer_is_set_again_by_the_call_after_a_quiet_tick() {
        let crew = Crew::new();
        let ticket = crew.begin(&call(1), None);
        assert!(crew.end(ticket));
        crew.tick(CHILD);
        assert!(!crew.watched.load(Ordering::SeqCst));
        crew.begin(&call(1), None);
        assert!(crew.watched.load(Ordering::SeqCst));
    }

    #[test]
    fn the_calls_of_who_held_up_a_thread_are_handed_on_and_those_of_others_are_not() {
        let crew = Crew::new();
        assert_eq!(crew.places(1, CHILD), Place::Here);
        let ticket = crew.takes_over(CHILD).unwrap();
        crew.work();
        assert_eq!(crew.places(2, RUNTIME), Place::Here);
        assert_eq!(crew.places(3, Account::Tree(8)), Place::Here);
        assert_eq!(crew.places(4, CHILD), Place::Elsewhere);
        assert!(matches!(crew.work()[..], [Work::Answer(call, _)] if call.id == 4));
        assert!(lock(&crew.state).apart.iter().any(|apart| apart.ticket == ticket));
    }

    #[test]
    fn a_tree_that_holds_up_all_that_it_may_waits_and_gets_its_turn() {
        let crew = Crew::new();
        crew.takes_over(CHILD).unwrap();
        let placed: Vec<_> = (1..=200).map(|id| crew.places(id, CHILD)).collect();
        assert!(placed.iter().all(|place| *place == Place::Elsewhere));
        let begun: Vec<_> = crew.work().into_iter().filter(|work| matches!(work, Work::Answer(..))).collect();
        assert_eq!(begun.len(), 47, "with the first one half of what the runtime leaves");
        assert_eq!(crew.places(201, RUNTIME), Place::Here);
        let mut answered: Vec<u64> = Vec::new();
        let mut next = begun.into_iter().collect::<VecDeque<_>>();
        while let Some(Work::Answer(call, ticket)) = next.pop_front() {
            answered.push(call.id);
            lock(&crew.state).idle = MAX_IDLE;
            next.extend(crew.next(7, Some(ticket)));
        }
        assert_eq!(answered, (1..=200).collect::<Vec<_>>());
    }

    #[test]
    fn a_thread_whose_call_keeps_somebody_waits_with_its_next() {
        let crew = Crew::new();
        let ticket = crew.takes_over(RUNTIME).unwrap();
        crew.work();
        assert_eq!(crew.places(1, RUNTIME), Place::Elsewhere, "another thread's");
        assert!(matches!(crew.work()[..], [Work::Answer(..)]));
        let again = call(999);
        let begun = crew.begin(&again, None);
        let place = crew.place((begun, &again), Some(RUNTIME), || RUNTIME, || true);
        assert!(crew.end(begun) && place == Place::Elsewhere && crew.work().is_empty());
        lock(&crew.state).idle = MAX_IDLE;
        assert!(matches!(crew.next(7, Some(ticket)), Some(Work::Answer(call, _)) if call.id == again.id));
    }

    #[test]
    fn children_of_whom_nothing_is_known_leave_the_runtime_its_part() {
        let crew = Crew::new();
        let mut taken = 0;
        for id in 0..200 {
            let ticket = crew.begin(&call(id), None);
            let place = crew.place((ticket, &call(id)), None, || CHILD, || true);
            for _ in 0..=PATIENCE * u32::from(place == Place::Here) {
                lock(&crew.state).last_tick = None;
                crew.look(|_| None, |_| false, || true);
            }
            taken += usize::from(place == Place::Here && !crew.end(ticket));
            let _ = crew.end(ticket);
        }
        assert_eq!(taken, MAX_OF_CHILDREN);
        assert_eq!(crew.places(1000, RUNTIME), Place::Here);
        assert_eq!(crew.places(1001, Account::Tree(3)), Place::Elsewhere);
    }

    #[test]
    fn who_is_kept_by_a_call_for_which_nobody_waits_is_told() {
        let crew = Crew::new();
        crew.receives(77, None);
        crew.takes_over(CHILD).unwrap();
        assert!(crew.abandoned(|_| false).is_empty(), "not at once");
        lock(&crew.state).apart[0].since = Instant::now().checked_sub(MAX_ABANDONED).unwrap();
        assert!(crew.abandoned(|_| true).is_empty());
        assert_eq!(crew.abandoned(|id| id != 999), [77]);
    }

    #[test]
    fn the_last_thread_is_for_the_runtime() {
        let crew = Crew::new();
        crew.takes_over(CHILD).unwrap();
        crew.work();
        let place = |id, runtime| {
            let ticket = crew.begin(&call(id), None);
            let place = crew.place((ticket, &call(id)), runtime, || Account::Tree(9), || false);
            assert!(crew.end(ticket));
            place
        };
        assert_eq!(place(1, None), Place::Elsewhere);
        assert_eq!(place(2, Some(RUNTIME)), Place::Here);
        lock(&crew.state).idle = 1;
        assert_eq!(place(3, None), Place::Here);
    }

    #[test]
    fn what_waits_is_bounded() {
        let crew = Crew::new();
        crew.takes_over(CHILD).unwrap();
        let placed = (0..10_000).map(|id| crew.places(id, CHILD)).filter(|place| *place == Place::Elsewhere);
        assert_eq!(placed.count(), 47 + MAX_PARKED);
        assert_eq!(crew.places(20_000, CHILD), Place::Nowhere);
        assert_eq!(crew.places(20_001, RUNTIME), Place::Here);
    }

    #[test]
    fn whoever_is_quiet_for_a_while_is_not_suspected_any_more() {
        let crew = Crew::new();
        let ticket = crew.takes_over(CHILD).unwrap();
        crew.work();
        lock(&crew.state).idle = MAX_IDLE;
        assert!(crew.next(7, Some(ticket)).is_none(), "enough threads");
        assert_eq!(crew.places(1, CHILD), Place::Elsewhere);
        crew.work();
        lock(&crew.state).apart.clear();
        lock(&crew.state).suspects.iter_mut().for_each(|(_, until)| *until = Instant::now());
        assert_eq!(crew.places(1, CHILD), Place::Here);
        assert!(!crew.is_careful());
    }

    #[test]
    fn looks_at_processes_go_on_where_one_takes_long_and_are_bounded() {
        let crew = Crew::new();
        for _ in 0..100 {
            crew.have_processes_looked_at(|| true);
            crew.have_processes_looked_at(|| panic!("one has just begun"));
            lock(&crew.state).last_look = Some(Instant::now().checked_sub(TICK * 3).unwrap());
        }
        assert_eq!(crew.work().len(), MAX_LOOKERS);
        (0..MAX_LOOKERS).for_each(|_| crew.have_looked());
        assert!(!crew.is_looking());
        crew.have_processes_looked_at(|| false);
        assert!(!crew.is_looking(), "nobody is there for it");
    }

    proptest! {
        #[test]
        fn children_never_keep_all_threads_and_nothing_is_lost(who in proptest::collection::vec((0..12_u32, any::<bool>()), 1..300)) {
            let crew = Crew::new();
            let (mut placed, mut answered, mut next) = (0, 0, VecDeque::new());
            crew.takes_over(Account::Tree(0));
            crew.work();
            for (id, (tree, ends)) in who.into_iter().enumerate() {
                if crew.places(id as u64, Account::Tree(tree)) == Place::Elsewhere {
                    placed += 1;
                }
                next.extend(crew.work());
                let state = lock(&crew.state);
                prop_assert!(state.apart.len() <= MAX_APART * 3 / 4);
                prop_assert!(state.has_share(RUNTIME));
                drop(state);
                if ends && let Some(Work::Answer(_, ticket)) = next.pop_front() {
                    answered += 1;
                    lock(&crew.state).idle = MAX_IDLE;
                    next.extend(crew.next(7, Some(ticket)));
                }
            }
            while let Some(Work::Answer(_, ticket)) = next.pop_front() {
                answered += 1;
                lock(&crew.state).idle = MAX_IDLE;
                next.extend(crew.next(7, Some(ticket)));
            }
            prop_assert_eq!(placed, answered);
        }
    }
}
