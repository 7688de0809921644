//! The logins that wait for a permit of one server, by class and user, in the order of their
//! arrival. Pure.
//!
//! Thousands of stores may wait for one server, and each login that ends looks for the next. No
//! operation therefore walks all that wait.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::queue::{LoginClass, LoginNumber, QueuedLogin};

/// The waiting logins of one server.
#[derive(Debug, Default)]
pub(super) struct WaitingLogins {
    logins: HashMap<LoginNumber, QueuedLogin>,
    attempts: ClassQueue,
    monitor: ClassQueue,
    trials: ClassQueue,
}

/// The waiting logins of one class.
#[derive(Debug, Default)]
pub(super) struct ClassQueue {
    /// The numbers of the logins of each user. No set is empty.
    users: HashMap<Arc<str>, BTreeSet<LoginNumber>>,
    /// The first login of each user.
    firsts: BTreeMap<LoginNumber, Arc<str>>,
}

impl WaitingLogins {
    /// Adds a login. Later logins have greater numbers.
    pub(super) fn push(&mut self, login: QueuedLogin) {
        self.class_mut(login.class).push(login.number, &login.username);
        self.logins.insert(login.number, login);
    }

    /// Removes and returns a login, or returns `None` if it does not wait.
    pub(super) fn remove(&mut self, number: LoginNumber) -> Option<QueuedLogin> {
        let login = self.logins.remove(&number)?;
        self.class_mut(login.class).remove(number, &login.username);
        Some(login)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.logins.is_empty()
    }

    /// Returns the logins of a class.
    pub(super) fn of_class(&self, class: LoginClass) -> &ClassQueue {
        match class {
            LoginClass::Attempt => &self.attempts,
            LoginClass::Monitor => &self.monitor,
            LoginClass::Trial => &self.trials,
        }
    }

    fn class_mut(&mut self, class: LoginClass) -> &mut ClassQueue {
        match class {
            LoginClass::Attempt => &mut self.attempts,
            LoginClass::Monitor => &mut self.monitor,
            LoginClass::Trial => &mut self.trials,
        }
    }
}

impl ClassQueue {
    /// Returns the first login.
    pub(super) fn first(&self) -> Option<LoginNumber> {
        self.firsts.first_key_value().map(|(number, _)| *number)
    }

    /// Returns the first login of any of these users.
    pub(super) fn first_of<'a>(
        &self,
        users: impl IntoIterator<Item = &'a Arc<str>>,
    ) -> Option<LoginNumber> {
        users.into_iter().filter_map(|user| self.users.get(user)?.first().copied()).min()
    }

    /// Returns the first login of a user that is not excluded. It passes over at most one login of
    /// each excluded user.
    pub(super) fn first_except(
        &self,
        is_excluded: impl Fn(&Arc<str>) -> bool,
    ) -> Option<LoginNumber> {
        self.firsts.iter().find(|(_, user)| !is_excluded(user)).map(|(number, _)| *number)
    }

    fn push(&mut self, number: LoginNumber, user: &Arc<str>) {
        let numbers = self.users.entry(Arc::clone(user)).or_default();
        if numbers.is_empty() {
            self.firsts.insert(number, Arc::clone(user));
        }
        numbers.insert(number);
    }

    fn remove(&mut self, number: LoginNumber, user: &Arc<str>) {
        let Some(numbers) = self.users.get_mut(user) else { return };
        numbers.remove(&number);
        let next = numbers.first().copied();
        if let Some(user) = self.firsts.remove(&number)
            && let Some(next) = next
        {
            self.firsts.insert(next, user);
        }
        if next.is_none() {
            self.users.remove(user);
        }
    }
}
