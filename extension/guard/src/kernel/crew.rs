//! Who takes calls and who is held up by one: threads, in the place of one that a target keeps waiting.
//!
//! One thread at a time takes calls and answers them itself, which is cheaper than to hand each one on. But a target can keep
//! the guard waiting in any system call that is about the target: a copy of memory whose lock somebody holds at idle
//! priority, a look-up in a folder that is being changed, a descriptor that the target must put into its table itself. So
//! the thread that waits for everything else looks every few milliseconds whether the one that answers is still at the same
//! call, and has another one take calls if so. Whoever has held a thread up is suspected for a while: his calls are handed
//! on, and wait, once he holds up as many threads as he may. It decides nothing about calls; `threads` calls it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::shares::Account;
use super::workers::lock;
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
/// Threads that look at processes at one time.
const MAX_LOOKERS: usize = 8;
/// Threads that look at callers that wait for workers, and how long one may take before there is another.
const MAX_WATCHERS: usize = 4;
const MAX_WATCH: Duration = Duration::from_secs(1);
/// Threads that stay though there is nothing for them to do.
const MAX_IDLE: usize = 2;
/// Ticks after which one that has work to do, and gets no processor for it, counts as held up.
const MAX_PATIENCE: u32 = 20;

/// What a thread does next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// Takes calls and answers them.
    Receive,
    /// Answers one call.
    Answer(Notification, Ticket),
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
    account: Account,
    since: Instant,
}

#[derive(Debug)]
struct Parked {
    call: Notification,
    account: Account,
}

#[derive(Debug, Default)]
struct State {
    work: VecDeque<Work>,
    apart: Vec<Apart>,
    parked: VecDeque<Parked>,
    suspects: VecDeque<(Account, Instant)>,
    idle: usize,
    /// The call that was seen last, and at how many ticks.
    seen: (Ticket, u32),
    last_tick: Option<Instant>,
    lookers: usize,
    last_look: Option<Instant>,
    /// Threads that look at callers that wait for workers, and when the last of them began.
    watchers: (usize, Option<Instant>),
}

impl State {
    fn has_share(&self, account: Account) -> bool {
        account.may_take_one(self.apart.iter().map(|apart| apart.account), MAX_APART)
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
        let at = self.parked.iter().position(|parked| self.has_share(parked.account))?;
        self.parked.remove(at)
    }

    fn is_quiet(&mut self, now: Instant) -> bool {
        self.suspects.retain(|(_, until)| *until > now);
        self.suspects.is_empty() && self.apart.is_empty() && self.parked.is_empty()
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
    /// The thread whose call that is.
    caller: AtomicU32,
    /// The thread that takes calls.
    receiver: AtomicU32,
    /// Whether somebody will look at the next tick.
    watched: AtomicBool,
    /// Whether not every call is answered where it is taken.
    careful: AtomicBool,
    state: Mutex<State>,
    there_is_work: Condvar,
    timer: Option<Timer>,
}

impl Crew {
    /// Nobody yet.
    pub(super) fn new() -> Self {
        Self {
            at: AtomicU64::new(0),
            tickets: AtomicU64::new(0),
            caller: AtomicU32::new(0),
            receiver: AtomicU32::new(0),
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

    /// Says that the thread `receiver` is the one that takes calls.
    pub(super) fn receives(&self, receiver: u32) {
        self.receiver.store(receiver, Ordering::SeqCst);
    }

    /// The thread that takes calls.
    pub(super) fn receiver(&self) -> u32 {
        self.receiver.load(Ordering::SeqCst)
    }

    /// Says that the call of `caller` is being answered by the thread that took it. `alarm` wakes who looks, where there is
    /// no timer.
    pub(super) fn begin(&self, caller: u32, alarm: Option<&Alarm>) -> Ticket {
        let ticket = self.ticket();
        self.caller.store(caller, Ordering::Relaxed);
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

    /// Says that the call was answered. False where another thread takes calls by now; then [`Self::next`] must be told.
    #[must_use]
    pub(super) fn end(&self, ticket: Ticket) -> bool {
        self.at.compare_exchange(ticket, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Whether the next call may be one to hand on.
    pub(super) fn is_careful(&self) -> bool {
        self.careful.load(Ordering::Acquire)
    }

    /// Says who answers a call of `account`. `staff` sees to it that there is a thread for it.
    pub(super) fn place(&self, call: &Notification, account: Account, staff: impl FnOnce() -> bool) -> Place {
        let now = Instant::now();
        let mut state = lock(&self.state);
        if state.is_quiet(now) {
            self.careful.store(false, Ordering::Release);
            return Place::Here;
        }
        if state.has_share(account) {
            if !state.is_suspect(account) || !state.is_staffed(staff) {
                return Place::Here;
            }
            let ticket = self.ticket();
            state.apart.push(Apart { ticket, account, since: now });
            self.give(&mut state, Work::Answer(*call, ticket));
            return Place::Elsewhere;
        }
        if state.parked.len() >= MAX_PARKED {
            return Place::Nowhere;
        }
        state.parked.push_back(Parked { call: *call, account });
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

    /// Looks whether the thread that takes calls is held up, and has another one take its place. `account_of` says whose a
    /// call is; `waits` whether a thread of ours waits for something but a processor; `staff` sees to it that there is a
    /// thread for it.
    pub(super) fn look(
        &self,
        account_of: impl FnOnce(u32) -> Account,
        waits: impl FnOnce(u32) -> bool,
        staff: impl FnOnce() -> bool,
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
        let held_up = ticks > 0 && (ticks >= MAX_PATIENCE || waits(self.receiver()));
        if held_up && state.apart.len() < MAX_APART && state.is_staffed(staff) {
            let account = account_of(self.caller.load(Ordering::Relaxed));
            // Under the lock: who ends meanwhile is told by `end` that he was replaced, and finds his call in the list.
            if self.end(at) {
                state.suspect(account, now);
                state.apart.push(Apart { ticket: at, account, since: now });
                self.careful.store(true, Ordering::Release);
                state.work.push_front(Work::Receive);
                self.there_is_work.notify_one();
            }
        }
        self.set_timer(tick);
    }

    fn set_timer(&self, after: Duration) {
        if let Some(timer) = &self.timer {
            timer.set(after);
        }
    }

    /// Has somebody look at processes, unless somebody has just begun to. `staff` as for [`Self::look`]. False where there can
    /// be nobody.
    #[must_use]
    pub(super) fn have_processes_looked_at(&self, staff: impl FnOnce() -> bool) -> bool {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let has_time = state.last_look.is_none_or(|last| now.duration_since(last) >= 2 * TICK);
        if state.lookers >= MAX_LOOKERS || (state.lookers > 0 && !has_time) {
            return true;
        }
        if !state.is_staffed(staff) {
            return false;
        }
        state.lookers += 1;
        state.last_look = Some(now);
        self.give(&mut state, Work::Look);
        true
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

    /// What a thread does next, which has answered call `done` if that was not one of many. `None` where there are enough
    /// threads without it.
    pub(super) fn next(&self, done: Option<Ticket>) -> Option<Work> {
        let mut state = lock(&self.state);
        if let Some(at) = done.and_then(|done| state.apart.iter().position(|apart| apart.ticket == done)) {
            let Apart { account, since, .. } = state.apart.swap_remove(at);
            let now = Instant::now();
            if now.duration_since(since) >= TICK {
                state.suspect(account, now);
            }
        }
        loop {
            if let Some(work) = state.work.pop_front() {
                return Some(work);
            }
            if let Some(Parked { call, account }) = state.unpark() {
                let ticket = self.ticket();
                state.apart.push(Apart { ticket, account, since: Instant::now() });
                return Some(Work::Answer(call, ticket));
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

    fn call(id: u64) -> Notification {
        let mut call = Notification::default();
        call.id = id;
        call
    }

    impl Crew {
        /// One tick later.
        fn tick(&self, of: Account) {
            lock(&self.state).last_tick = None;
            self.look(|_| of, |_| true, || true);
        }

        fn takes_over(&self, of: Account) -> Option<Ticket> {
            let ticket = self.begin(7, None);
            self.tick(of);
            self.tick(of);
            (!self.end(ticket)).then_some(ticket)
        }

        fn work(&self) -> Vec<Work> {
            lock(&self.state).work.drain(..).collect()
        }

        fn places(&self, id: u64, account: Account) -> Place {
            self.place(&call(id), account, || true)
        }
    }

    #[test]
    fn who_is_at_the_same_call_for_two_ticks_is_replaced_and_told_so() {
        let crew = Crew::new();
        let ticket = crew.begin(7, None);
        crew.tick(CHILD);
        assert!(crew.work().is_empty(), "it may have just begun");
        crew.tick(CHILD);
        assert!(matches!(crew.work()[..], [Work::Receive]));
        assert!(!crew.end(ticket));
        assert!(crew.is_careful());
        crew.tick(CHILD);
        assert!(crew.work().is_empty(), "nobody is at a call now");
    }

    #[test]
    fn who_is_at_another_call_each_time_is_not_replaced() {
        let crew = Crew::new();
        for _ in 0..10 {
            let ticket = crew.begin(7, None);
            crew.tick(CHILD);
            assert!(crew.end(ticket));
        }
        assert!(crew.work().is_empty() && !crew.is_careful());
    }

    #[test]
    fn who_only_wants_a_processor_is_left_alone_for_a_while() {
        let crew = Crew::new();
        crew.begin(7, None);
        let looks = (0..100).take_while(|_| {
            lock(&crew.state).last_tick = None;
            crew.look(|_| CHILD, |_| false, || true);
            crew.work().is_empty()
        });
        assert_eq!(looks.count(), MAX_PATIENCE as usize);
    }

    #[test]
    fn without_a_thread_for_it_nobody_is_replaced() {
        let crew = Crew::new();
        let ticket = crew.begin(7, None);
        for _ in 0..5 {
            lock(&crew.state).last_tick = None;
            crew.look(|_| CHILD, |_| true, || false);
        }
        assert!(crew.end(ticket));
    }

    #[test]
    fn the_timer_is_set_again_by_the_call_after_a_quiet_tick() {
        let crew = Crew::new();
        let ticket = crew.begin(7, None);
        assert!(crew.end(ticket));
        crew.tick(CHILD);
        assert!(!crew.watched.load(Ordering::SeqCst));
        crew.begin(7, None);
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
            next.extend(crew.next(Some(ticket)));
        }
        assert_eq!(answered, (1..=200).collect::<Vec<_>>());
    }

    #[test]
    fn what_waits_is_bounded() {
        let crew = Crew::new();
        crew.takes_over(CHILD).unwrap();
        let placed = (0..10_000).map(|id| crew.places(id, CHILD)).filter(|place| *place == Place::Elsewhere);
        assert_eq!(placed.count(), 47 + MAX_PARKED);
        assert_eq!(crew.places(1, CHILD), Place::Nowhere);
        assert_eq!(crew.places(1, RUNTIME), Place::Here);
    }

    #[test]
    fn whoever_is_quiet_for_a_while_is_not_suspected_any_more() {
        let crew = Crew::new();
        let ticket = crew.takes_over(CHILD).unwrap();
        crew.work();
        lock(&crew.state).idle = MAX_IDLE;
        assert!(crew.next(Some(ticket)).is_none(), "enough threads");
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
            assert!(crew.have_processes_looked_at(|| true));
            assert!(crew.have_processes_looked_at(|| panic!("one has just begun")));
            lock(&crew.state).last_look = Some(Instant::now().checked_sub(TICK * 3).unwrap());
        }
        assert_eq!(crew.work().len(), MAX_LOOKERS);
        (0..MAX_LOOKERS).for_each(|_| crew.have_looked());
        assert!(!crew.is_looking());
        assert!(!crew.have_processes_looked_at(|| false), "nobody is there for it");
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
                    next.extend(crew.next(Some(ticket)));
                }
            }
            while let Some(Work::Answer(_, ticket)) = next.pop_front() {
                answered += 1;
                lock(&crew.state).idle = MAX_IDLE;
                next.extend(crew.next(Some(ticket)));
            }
            prop_assert_eq!(placed, answered);
        }
    }
}
