//! Who may take how much of what is bounded: workers, places in their queue, and sockets in the registry.
//!
//! Nobody takes all of what is free, so that something is left for whoever comes next; and the account is by tree of
//! processes, or forks would multiply the share. A part is the runtime's alone: its children together, however many,
//! never keep the function from its own connections. `threads` and `sockets` open accounts, `workers` and `registry` ask.

use ringfence_policy::Role;

use super::target::{self, Caller};

/// Generations that are followed upwards; what descends further shares the account of orphans.
const MAX_GENERATIONS: usize = 16;
/// The account of those that descend from the runtime no more, since a parent has ended.
const ORPHANS: Account = Account::Tree(0);

/// Whose share something is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// The runtime, or one of its workers on Managed Instances.
    Runtime(u32),
    /// A child of the runtime, with all that descends from it.
    Tree(u32),
}

impl Account {
    /// The account of a caller in the family of `runtime`.
    #[must_use]
    pub fn of(caller: &Caller, runtime: u32) -> Self {
        if caller.role == Role::Runtime {
            return Self::Runtime(caller.process);
        }
        Self::below(caller.process, runtime, target::parent_of)
    }

    /// The account of a process in the family of `runtime`.
    #[must_use]
    pub fn of_process(process: u32, runtime: u32) -> Self {
        if process == runtime {
            return Self::Runtime(runtime);
        }
        Self::below(process, runtime, target::parent_of)
    }

    /// Whether it is the runtime's, or a worker's.
    #[must_use]
    pub const fn is_runtime(self) -> bool {
        matches!(self, Self::Runtime(_))
    }

    fn below(process: u32, runtime: u32, parent_of: impl Fn(u32) -> Option<u32>) -> Self {
        let mut top = process;
        for _ in 0..MAX_GENERATIONS {
            match parent_of(top) {
                Some(parent) if parent == runtime => return Self::Tree(top),
                Some(parent) if parent > 1 => top = parent,
                _ => break,
            }
        }
        ORPHANS
    }

    /// Whether one more of `places` may be taken, where each of `taken` is taken already: by the runtime while it has
    /// less than three quarters of what the others leave, by a tree while it has less than half of that, but for the
    /// quarter of all that is the runtime's.
    #[must_use]
    pub fn may_take_one(self, taken: impl Iterator<Item = Self>, places: usize) -> bool {
        let (mut all, mut own) = (0, 0);
        for account in taken {
            all += 1;
            own += usize::from(account == self);
        }
        let free = places.saturating_sub(all);
        match self {
            Self::Runtime(_) => own < 3 * free,
            Self::Tree(_) => own < free.saturating_sub(places / 4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RUNTIME: Account = Account::Runtime(1);

    /// What each of some that come one after the other gets of 128, taking all that they may.
    fn shares(accounts: &[Account]) -> Vec<usize> {
        let mut taken = Vec::new();
        let mut take = |account: &Account| {
            let before = taken.len();
            while account.may_take_one(taken.iter().copied(), 128) {
                taken.push(*account);
            }
            taken.len() - before
        };
        accounts.iter().map(&mut take).collect()
    }

    #[test]
    fn whoever_comes_later_finds_something() {
        let trees: Vec<_> = (1..6).map(Account::Tree).collect();
        assert_eq!(shares(&trees), [48, 24, 12, 6, 3]);
        assert_eq!(
            shares(&[RUNTIME, Account::Tree(1)]),
            [96, 0],
            "a tree beside a runtime that takes all it may"
        );
        assert_eq!(shares(&[RUNTIME, Account::Runtime(2), Account::Runtime(3)]), [96, 24, 6], "workers");
    }

    #[test]
    fn who_forks_often_leaves_the_runtime_its_quarter() {
        let mut accounts: Vec<_> = (1..=500).map(Account::Tree).collect();
        accounts.push(RUNTIME);
        let shares = shares(&accounts);
        assert_eq!(shares.iter().take(500).sum::<usize>(), 96);
        assert_eq!(shares.last(), Some(&24));
    }

    #[test]
    fn a_tree_has_one_account() {
        let parents = |process| match process {
            30 => Some(20),
            20 | 21 => Some(10),
            40 => Some(1),
            50 => None,
            _ => Some(process - 1),
        };
        assert_eq!(Account::below(20, 10, parents), Account::Tree(20));
        assert_eq!(Account::below(30, 10, parents), Account::Tree(20), "a grandchild");
        assert_eq!(Account::below(21, 10, parents), Account::Tree(21));
        assert_eq!(Account::below(40, 10, parents), ORPHANS);
        assert_eq!(Account::below(50, 10, parents), ORPHANS);
        assert_eq!(Account::below(1000, 10, parents), ORPHANS, "a chain that is too long");
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_there_are_places(who in proptest::collection::vec((any::<bool>(), 0..9_u32), 0..400)) {
            let (mut runtimes, mut trees, mut taken) = (0, 0, Vec::new());
            for (is_tree, number) in who {
                let account = if is_tree { Account::Tree(number) } else { Account::Runtime(number) };
                if account.may_take_one(taken.iter().copied(), 128) {
                    taken.push(account);
                    *if is_tree { &mut trees } else { &mut runtimes } += 1;
                }
            }
            prop_assert!(runtimes + trees <= 128 && trees <= 96);
        }
    }
}
