//! The order in which the logins on one server get permits. Pure: nothing here waits or reads a
//! clock.
//!
//! # Guarantees
//! - An attempt precedes all other logins. All other logins are admitted in the order of their
//!   arrival, and a login that may not run yet delays none behind it.
//! - Adds and updates leave permits to the served stores.
//! - The logins that the server did not answer last time share one permit, so that they cannot hold
//!   all of them. Adds and updates get it only if no served store waits for it.

use std::collections::VecDeque;

use crate::model::{Fault, Reason};

/// Maximum number of concurrent logins on one server. sshd rejects connections at random while ten
/// are not logged in (`MaxStartups 10:30:100`, `sshd_config(5)`). This also affects the connections
/// of other users.
pub(super) const MAX_LOGINS_PER_SERVER: usize = 4;
/// Maximum number of concurrent trials on one server. The other permits are for served stores.
pub(super) const MAX_TRIALS_PER_SERVER: usize = 2;
/// Maximum number of users of one server whose unanswered login is remembered. The oldest is
/// forgotten first, and its next login may hold a permit of its own.
const MAX_UNANSWERED_USERS: usize = 64;

/// Purpose of a login, which decides its order and its share of the permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginClass {
    /// An attempt of a served store.
    Attempt,
    /// The periodic login of a served store.
    Monitor,
    /// A login of an add or an update, with a definition that is not in force.
    Trial,
}

/// The end of a login, as far as it tells about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginEnd {
    /// The server accepted or rejected the login, or the connection to it.
    Answered,
    /// The server did not answer before the authentication.
    ServerSilent,
    /// The server did not answer the authentication of this user.
    UserSilent,
    /// Nothing is known: the login was aborted, or failed on this side.
    Unknown,
}

impl LoginEnd {
    /// Returns the end of a login that failed with this fault.
    pub(crate) fn of_fault(fault: &Fault) -> Self {
        match fault.reason() {
            Reason::ConnectTimeout | Reason::BannerTimeout | Reason::HandshakeTimeout => {
                Self::ServerSilent
            }
            Reason::AuthTimeout => Self::UserSilent,
            Reason::AgentBusy => Self::Unknown,
            _ => Self::Answered,
        }
    }
}

/// Number of a login in the queue of its server.
pub(super) type LoginNumber = u64;

#[derive(Debug)]
struct QueuedLogin {
    number: LoginNumber,
    class: LoginClass,
    username: String,
}

/// The running and the waiting logins of one server, and those that it did not answer.
#[derive(Debug, Default)]
pub(super) struct ServerQueue {
    running: Vec<QueuedLogin>,
    waiting: VecDeque<QueuedLogin>,
    /// True if the server did not answer the last login before the authentication.
    server_silent: bool,
    /// The users whose last authentication had no answer, the oldest first.
    silent_users: VecDeque<String>,
}

impl ServerQueue {
    /// Adds a login at the end of the queue.
    pub(super) fn push(&mut self, number: LoginNumber, class: LoginClass, username: &str) {
        self.waiting.push_back(QueuedLogin { number, class, username: username.to_owned() });
    }

    /// Admits every login that may run now, and returns their numbers in the order of admission.
    pub(super) fn admit(&mut self) -> Vec<LoginNumber> {
        let mut admitted = Vec::new();
        while let Some(login) = self.next_admissible().and_then(|at| self.waiting.remove(at)) {
            admitted.push(login.number);
            self.running.push(login);
        }
        admitted
    }

    fn next_admissible(&self) -> Option<usize> {
        if self.running.len() >= MAX_LOGINS_PER_SERVER {
            return None;
        }
        let running = |held: &dyn Fn(&QueuedLogin) -> bool| {
            self.running.iter().filter(|login| held(login)).count()
        };
        let trials_full =
            running(&|login| login.class == LoginClass::Trial) >= MAX_TRIALS_PER_SERVER;
        let silent_runs = running(&|login| self.is_silent(login)) > 0;
        let is_trial = |login: &QueuedLogin| login.class == LoginClass::Trial;
        let stores_wait =
            || self.waiting.iter().any(|login| !is_trial(login) && self.is_silent(login));
        let must_wait = |login: &QueuedLogin| {
            let is_silent = self.is_silent(login);
            silent_runs && is_silent
                || is_trial(login) && (trials_full || is_silent && stores_wait())
        };
        let may_run = |login: &QueuedLogin| !must_wait(login);
        let is_attempt = |login: &QueuedLogin| login.class == LoginClass::Attempt;
        let first_attempt =
            self.waiting.iter().position(|login| is_attempt(login) && may_run(login));
        first_attempt.or_else(|| self.waiting.iter().position(may_run))
    }

    /// Returns true if the server did not answer the login of this user last time.
    fn is_silent(&self, login: &QueuedLogin) -> bool {
        self.server_silent || self.silent_users.contains(&login.username)
    }

    /// Removes a login, which is running or still waiting, and records its end.
    pub(super) fn remove(&mut self, number: LoginNumber, end: LoginEnd) {
        self.waiting.retain(|login| login.number != number);
        let Some(at) = self.running.iter().position(|login| login.number == number) else { return };
        let QueuedLogin { username, .. } = self.running.swap_remove(at);
        match end {
            LoginEnd::Unknown => return,
            LoginEnd::ServerSilent => {
                self.server_silent = true;
                return;
            }
            LoginEnd::Answered | LoginEnd::UserSilent => self.server_silent = false,
        }
        self.silent_users.retain(|silent| *silent != username);
        if end == LoginEnd::UserSilent {
            if self.silent_users.len() >= MAX_UNANSWERED_USERS {
                self.silent_users.pop_front();
            }
            self.silent_users.push_back(username);
        }
    }

    /// Returns the number of logins that are running.
    pub(super) fn running_count(&self) -> usize {
        self.running.len()
    }

    /// Returns true if a login of this user now shares the permit of the logins without an answer.
    pub(super) fn was_silent_for(&self, username: &str) -> bool {
        self.server_silent || self.silent_users.iter().any(|silent| silent == username)
    }

    /// Returns true if no login is running or waiting.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Returns true if the queue holds nothing that the next login depends on.
    pub(super) fn is_forgettable(&self) -> bool {
        self.is_idle() && !self.server_silent && self.silent_users.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::LoginClass::{Attempt, Monitor, Trial};
    use super::*;

    /// Adds these logins, each of another user, and returns those that were admitted.
    fn admitted(queue: &mut ServerQueue, logins: &[(LoginNumber, LoginClass)]) -> Vec<LoginNumber> {
        for (number, class) in logins {
            queue.push(*number, *class, &number.to_string());
        }
        queue.admit()
    }

    fn after(queue: &mut ServerQueue, number: LoginNumber, end: LoginEnd) -> Vec<LoginNumber> {
        queue.remove(number, end);
        queue.admit()
    }

    #[test]
    fn an_attempt_precedes_and_trials_leave_permits() {
        for (logins, expected) in [
            (
                &[(1, Monitor), (2, Monitor), (3, Monitor), (4, Monitor), (5, Monitor)][..],
                &[1, 2, 3, 4][..],
            ),
            (&[(1, Trial), (2, Trial), (3, Trial), (4, Monitor)], &[1, 2, 4]),
            (&[(1, Monitor), (2, Trial), (3, Attempt)], &[3, 1, 2]),
            (
                &[(1, Trial), (2, Trial), (3, Trial), (4, Trial), (5, Monitor), (6, Attempt)],
                &[6, 1, 2, 5],
            ),
        ] {
            assert_eq!(admitted(&mut ServerQueue::default(), logins), expected, "{logins:?}");
        }
    }

    #[test]
    fn the_longest_waiting_login_is_next() {
        let mut queue = ServerQueue::default();
        let logins: Vec<_> = (1..=9).map(|n| (n, Monitor)).collect();
        admitted(&mut queue, &logins);
        let ended = [2, 4, 1, 3].map(|number| after(&mut queue, number, LoginEnd::Answered));
        assert_eq!(ended, [vec![5], vec![6], vec![7], vec![8]]);
        // A login that gives up its place leaves the order as it is.
        queue.push(10, Monitor, "u");
        queue.remove(9, LoginEnd::Unknown);
        assert_eq!(after(&mut queue, 5, LoginEnd::Answered), [10]);
    }

    #[test]
    fn a_silent_server_holds_one_permit_until_it_answers() {
        let mut queue = ServerQueue::default();
        let logins: Vec<_> = (1..=9).map(|n| (n, Monitor)).collect();
        admitted(&mut queue, &logins);
        assert_eq!(after(&mut queue, 1, LoginEnd::ServerSilent), [0; 0]);
        assert_eq!(after(&mut queue, 2, LoginEnd::Unknown), [0; 0]);
        assert_eq!(after(&mut queue, 3, LoginEnd::ServerSilent), [0; 0]);
        assert_eq!(after(&mut queue, 4, LoginEnd::ServerSilent), [5]);
        assert_eq!(after(&mut queue, 5, LoginEnd::ServerSilent), [6]);
        // An answer, even of the kind "no", ends the restriction.
        assert_eq!(after(&mut queue, 6, LoginEnd::Answered), [7, 8, 9]);
        for number in 7..=9 {
            queue.remove(number, LoginEnd::Unknown);
        }
        assert!(queue.is_forgettable());
    }

    #[test]
    fn users_without_an_answer_share_one_permit_and_delay_no_other_user() {
        let mut queue = ServerQueue::default();
        for (number, user) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
            queue.push(number, Monitor, user);
        }
        queue.admit();
        for number in 1..=4 {
            queue.remove(number, LoginEnd::UserSilent);
        }
        for (number, user) in [(5, "a"), (6, "b"), (7, "c"), (8, "well"), (9, "d"), (10, "well")] {
            queue.push(number, Monitor, user);
        }
        assert_eq!(queue.admit(), [5, 8, 10]);
        assert_eq!(after(&mut queue, 5, LoginEnd::Answered), [6]);
        assert!(!queue.was_silent_for("a") && queue.was_silent_for("b"));
    }

    #[test]
    fn a_trial_gets_the_permit_of_a_silent_server_after_the_served_stores() {
        let mut queue = ServerQueue::default();
        admitted(&mut queue, &[(1, Monitor)]);
        queue.remove(1, LoginEnd::ServerSilent);
        assert_eq!(admitted(&mut queue, &[(2, Trial), (3, Trial), (4, Monitor)]), [4]);
        queue.push(5, Monitor, "5");
        let ended = [4, 5, 2].map(|number| after(&mut queue, number, LoginEnd::ServerSilent));
        assert_eq!(ended, [[5], [2], [3]]);
        queue.remove(3, LoginEnd::ServerSilent);
        // Fifty adds ahead of ten stores delay the stores by no more than the first login.
        let mut logins = vec![Trial; 50];
        logins.extend([Monitor; 10]);
        assert_eq!(longest_waits(&logins, 10, LoginEnd::ServerSilent)[0], 80);
    }

    /// Runs these logins, which all arrive at once and take `duration` each. Returns the longest
    /// wait of each class, in the same unit of time.
    fn longest_waits(logins: &[LoginClass], duration: u64, end: LoginEnd) -> [u64; 2] {
        let mut queue = ServerQueue::default();
        for (number, class) in (0..).zip(logins) {
            queue.push(number, *class, "u");
        }
        let mut waits = [0; 2];
        let mut ends: VecDeque<(u64, LoginNumber)> = VecDeque::new();
        let mut now = 0;
        loop {
            for number in queue.admit() {
                let class = logins[usize::try_from(number).unwrap()];
                let longest = &mut waits[usize::from(class == Trial)];
                *longest = now.max(*longest);
                ends.push_back((now + duration, number));
            }
            // All logins take the same time, so that the first to begin is the first to end.
            let Some((at, number)) = ends.pop_front() else { return waits };
            now = at;
            queue.remove(number, end);
        }
    }

    #[test]
    fn trials_delay_no_served_store_by_more_than_their_share() {
        let mut logins = vec![Trial; 50];
        logins.extend([Monitor; 10]);
        // Ten logins through two permits, and fifty through the other two.
        assert_eq!(longest_waits(&logins, 10, LoginEnd::Answered), [40, 240]);
        assert_eq!(longest_waits(&[Monitor; 10], 10, LoginEnd::Answered), [20, 0]);
    }

    #[test]
    fn the_logins_on_a_silent_server_run_one_after_the_other() {
        // Four at first, which end at 10, and the others after them.
        assert_eq!(longest_waits(&[Monitor; 60], 10, LoginEnd::ServerSilent), [560, 0]);
        assert_eq!(longest_waits(&[Monitor; 60], 10, LoginEnd::UserSilent), [560, 0]);
        assert_eq!(longest_waits(&[Monitor; 60], 10, LoginEnd::Answered), [140, 0]);
    }

    #[test]
    fn the_number_of_remembered_users_is_bounded() {
        let mut queue = ServerQueue::default();
        for number in 0..1000 {
            queue.push(number, Monitor, &number.to_string());
            queue.admit();
            queue.remove(number, LoginEnd::UserSilent);
        }
        assert_eq!(queue.silent_users.len(), MAX_UNANSWERED_USERS);
        assert!(queue.was_silent_for("999") && !queue.was_silent_for("0"));
    }

    proptest::proptest! {
        #[test]
        fn no_permit_is_lost_or_exceeded_and_every_login_gets_its_turn(
            logins in proptest::collection::vec((0_u8..3, 0_u8..4, 0_u8..4), 1..40)
        ) {
            let mut queue = ServerQueue::default();
            let classes = [Attempt, Monitor, Trial];
            let ends =
                [LoginEnd::Answered, LoginEnd::ServerSilent, LoginEnd::UserSilent, LoginEnd::Unknown];
            for (number, (class, user, _)) in (0..).zip(&logins) {
                queue.push(number, classes[usize::from(*class)], &user.to_string());
            }
            let mut admitted = queue.admit();
            let mut next = 0;
            while next < admitted.len() {
                proptest::prop_assert!(queue.running.len() <= MAX_LOGINS_PER_SERVER);
                let trials = queue.running.iter().filter(|login| login.class == Trial).count();
                proptest::prop_assert!(trials <= MAX_TRIALS_PER_SERVER);
                let number = admitted[next];
                let end = ends[usize::from(logins[usize::try_from(number).unwrap()].2)];
                queue.remove(number, end);
                admitted.extend(queue.admit());
                next += 1;
            }
            admitted.sort_unstable();
            proptest::prop_assert!(admitted.iter().copied().eq(0..logins.len() as u64));
            proptest::prop_assert!(queue.is_idle());
        }
    }
}
