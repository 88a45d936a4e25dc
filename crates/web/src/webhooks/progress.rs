//! Up to which event an account's webhooks are done, so that the next process can go on from there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{AccountId, EventId};

/// The progress of all accounts.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    accounts: Mutex<HashMap<AccountId, Account>>,
}

#[derive(Debug, Default)]
struct Account {
    /// Every event up to this one was looked at.
    passed: EventIdOrNone,
    /// Events that a webhook still has to do with, and how many.
    open: BTreeMap<EventId, usize>,
    /// What was written down.
    stored: EventIdOrNone,
}

type EventIdOrNone = Option<EventId>;

impl Progress {
    /// A webhook has to do with this event.
    pub(crate) fn began(&self, account: AccountId, event: EventId) {
        *self.lock().entry(account).or_default().open.entry(event).or_default() += 1;
    }

    /// It has no more.
    pub(crate) fn ended(&self, account: AccountId, event: EventId) {
        let mut accounts = self.lock();
        let Some(account) = accounts.get_mut(&account) else { return };
        if let Some(count) = account.open.get_mut(&event) {
            *count -= 1;
            if *count == 0 {
                account.open.remove(&event);
            }
        }
    }

    /// Every event up to this one was looked at.
    pub(crate) fn passed(&self, account: AccountId, event: EventId) {
        let mut accounts = self.lock();
        let account = accounts.entry(account).or_default();
        account.passed = account.passed.max(Some(event));
    }

    /// An account has no webhooks any more.
    pub(crate) fn remove(&self, account: AccountId) {
        self.lock().remove(&account);
    }

    /// What to write down: of each account whose progress changed, the last event that all is done
    /// with.
    pub(crate) fn changed(&self) -> Vec<(AccountId, EventId)> {
        let mut changed = Vec::new();
        for (id, account) in self.lock().iter_mut() {
            let done = match account.open.keys().find(|event| event.0 > 0) {
                Some(first) => Some(EventId(first.0 - 1)),
                None => account.passed,
            };
            if let Some(done) = done.filter(|_| done != account.stored) {
                account.stored = Some(done);
                changed.push((*id, done));
            }
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountId, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: AccountId = AccountId(1);

    #[test]
    fn the_oldest_open_event_holds_the_progress_back() {
        let progress = Progress::default();
        assert_eq!(progress.changed(), []);
        progress.began(A, EventId(5));
        progress.began(A, EventId(5));
        progress.passed(A, EventId(9));
        assert_eq!(progress.changed(), [(A, EventId(4))]);
        progress.ended(A, EventId(5));
        assert_eq!(progress.changed(), []);
        progress.ended(A, EventId(5));
        assert_eq!(progress.changed(), [(A, EventId(9))]);
        assert_eq!(progress.changed(), []);
    }
}
