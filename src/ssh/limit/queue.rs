//! The order in which the logins on one server get permits. Pure: nothing here waits or reads a
//! clock.
//!
//! # Guarantees
//! - An attempt precedes all other logins. All other logins are admitted in the order of their
//!   arrival, and a login that may not run yet delays none behind it.
//! - Adds and updates leave permits to the served stores.
//! - The logins that the server did not answer last time share one permit, so that they cannot hold
//!   all of them. Adds and updates get it only if no served store waits for it.

use std::sync::Arc;

use super::silence::{LoginEnd, ServerSilence};
use super::waiting::WaitingLogins;

/// Maximum number of concurrent logins on one server. sshd rejects connections at random while ten
/// are not logged in (`MaxStartups 10:30:100`, `sshd_config(5)`). This also affects the connections
/// of other users.
pub(super) const MAX_LOGINS_PER_SERVER: usize = 4;
/// Maximum number of concurrent trials on one server. The other permits are for served stores.
pub(super) const MAX_TRIALS_PER_SERVER: usize = 2;
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

/// Number of a login in the queue of its server.
pub(super) type LoginNumber = u64;

/// A login in the queue of its server.
#[derive(Debug)]
pub(super) struct QueuedLogin {
    pub(super) number: LoginNumber,
    pub(super) class: LoginClass,
    pub(super) username: Arc<str>,
}

/// The running and the waiting logins of one server, and the logins that it did not answer.
#[derive(Debug, Default)]
pub(super) struct ServerQueue {
    running: Vec<QueuedLogin>,
    waiting: WaitingLogins,
    silence: ServerSilence,
}

impl ServerQueue {
    /// Adds a login at the end of the queue. Its number is greater than those before it.
    pub(super) fn push(&mut self, number: LoginNumber, class: LoginClass, username: &str) {
        self.waiting.push(QueuedLogin { number, class, username: username.into() });
    }

    /// Admits every login that may run now, and returns their numbers in the order of admission.
    pub(super) fn admit(&mut self) -> Vec<LoginNumber> {
        let mut admitted = Vec::new();
        while let Some(login) = self.next_admissible().and_then(|next| self.waiting.remove(next)) {
            admitted.push(login.number);
            self.running.push(login);
        }
        admitted
    }

    fn next_admissible(&self) -> Option<LoginNumber> {
        use LoginClass::{Attempt, Monitor, Trial};
        if self.running.len() >= MAX_LOGINS_PER_SERVER {
            return None;
        }
        let silent_runs = self.running.iter().any(|login| self.was_silent_for(&login.username));
        let attempt = self.first_waiting(Attempt, !silent_runs);
        if attempt.is_some() {
            return attempt;
        }
        let trials = self.running.iter().filter(|login| login.class == Trial).count();
        let trial = if trials >= MAX_TRIALS_PER_SERVER {
            None
        } else {
            // No attempt waits here.
            self.first_waiting(Trial, !silent_runs && !self.is_silent_waiting(Monitor))
        };
        [self.first_waiting(Monitor, !silent_runs), trial].into_iter().flatten().min()
    }

    /// Returns the first waiting login of a class. `with_silent` is false if those without an
    /// answer may not run.
    fn first_waiting(&self, class: LoginClass, with_silent: bool) -> Option<LoginNumber> {
        let logins = self.waiting.of_class(class);
        match (with_silent, self.silence.is_of_server()) {
            (true, _) => logins.first(),
            (false, true) => None,
            (false, false) => logins.first_except(|user| self.silence.is_of_user(user)),
        }
    }

    /// Returns true if a login of this class waits that the server did not answer last time.
    fn is_silent_waiting(&self, class: LoginClass) -> bool {
        let logins = self.waiting.of_class(class);
        let first = match self.silence.is_of_server() {
            true => logins.first(),
            false => logins.first_of(self.silence.users()),
        };
        first.is_some()
    }

    /// Removes a login, which is running or still waiting, and records its end.
    pub(super) fn remove(&mut self, number: LoginNumber, end: LoginEnd) {
        self.waiting.remove(number);
        let Some(at) = self.running.iter().position(|login| login.number == number) else { return };
        let QueuedLogin { username, .. } = self.running.swap_remove(at);
        self.silence.record_end(username, end);
    }

    /// Returns the number of logins that are running.
    pub(super) fn running_count(&self) -> usize {
        self.running.len()
    }

    /// Returns true if a login of this user now shares the permit of the logins without an answer.
    pub(super) fn was_silent_for(&self, username: &str) -> bool {
        self.silence.is_of_server() || self.silence.is_of_user(username)
    }

    /// Returns true if no login is running or waiting.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Returns true if the queue holds nothing that the next login depends on.
    pub(super) fn is_forgettable(&self) -> bool {
        self.is_idle() && self.silence.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use tokio::time::Instant;

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

    /// Returns the shortest time of three in which 500 of this number of waiting logins get their
    /// turns and end so. The first half are trials, which run last if there is no answer. There are
    /// more users than the queue remembers.
    fn shortest_turns(waiting: u64, end: LoginEnd) -> Duration {
        let turns = || {
            let mut queue = ServerQueue::default();
            for number in 0..waiting {
                let class = if number < waiting / 2 { Trial } else { Monitor };
                queue.push(number, class, &(number % 100).to_string());
            }
            let mut running = queue.admit();
            let start = Instant::now();
            for _ in 0..500 {
                queue.remove(running.pop().unwrap(), end);
                running.extend(queue.admit());
            }
            start.elapsed()
        };
        (0..3).map(|_| turns()).min().unwrap()
    }

    #[test]
    fn the_time_of_a_turn_hardly_grows_with_the_logins_that_wait() {
        for end in ENDS {
            let (few, many) = (shortest_turns(2_000, end), shortest_turns(100_000, end));
            // Fifty times as many logins take fifty times as long with a walk in each turn.
            assert!(many < few * 15, "{end:?}: {few:?} of 2,000 logins, {many:?} of 100,000");
        }
    }

    /// The rules of the queue, as a search through all that wait.
    #[derive(Debug, Default)]
    struct SearchedQueue {
        running: Vec<(LoginNumber, LoginClass, u8)>,
        waiting: Vec<(LoginNumber, LoginClass, u8)>,
        server_silent: bool,
        silent_users: Vec<u8>,
    }

    impl SearchedQueue {
        fn is_silent(&self, user: u8) -> bool {
            self.server_silent || self.silent_users.contains(&user)
        }

        fn may_run(&self, (_, class, user): (LoginNumber, LoginClass, u8)) -> bool {
            let is_silent = self.is_silent(user);
            let silent_runs = self.running.iter().any(|(_, _, user)| self.is_silent(*user));
            let trials = self.running.iter().filter(|(_, class, _)| *class == Trial).count();
            let mut waiting = self.waiting.iter();
            let stores_wait =
                waiting.any(|(_, class, user)| *class != Trial && self.is_silent(*user));
            let is_trial = class == Trial;
            self.running.len() < MAX_LOGINS_PER_SERVER
                && !(is_silent && silent_runs)
                && !(is_trial && trials >= MAX_TRIALS_PER_SERVER)
                && !(is_trial && is_silent && stores_wait)
        }

        fn admit(&mut self) -> Vec<LoginNumber> {
            let mut admitted = Vec::new();
            loop {
                let able = self.waiting.iter().copied().filter(|&login| self.may_run(login));
                let next = able.min_by_key(|(number, class, _)| (*class != Attempt, *number));
                let Some(next) = next else { return admitted };
                self.waiting.retain(|login| *login != next);
                self.running.push(next);
                admitted.push(next.0);
            }
        }

        fn remove(&mut self, number: LoginNumber, end: LoginEnd) {
            self.waiting.retain(|login| login.0 != number);
            let Some(at) = self.running.iter().position(|login| login.0 == number) else { return };
            let (_, _, user) = self.running.remove(at);
            match end {
                LoginEnd::Unknown => {}
                LoginEnd::ServerSilent => self.server_silent = true,
                LoginEnd::Answered | LoginEnd::UserSilent => {
                    self.server_silent = false;
                    self.silent_users.retain(|silent| *silent != user);
                    if end == LoginEnd::UserSilent {
                        self.silent_users.push(user);
                    }
                }
            }
        }
    }

    const ENDS: [LoginEnd; 4] =
        [LoginEnd::Answered, LoginEnd::ServerSilent, LoginEnd::UserSilent, LoginEnd::Unknown];

    proptest::proptest! {
        #[test]
        fn the_order_is_that_of_a_search_through_all_that_wait(
            steps in proptest::collection::vec((0_u8..5, 0_u8..3, 0_u8..5, 0_usize..40, 0_usize..4), 1..120)
        ) {
            let (mut queue, mut searched) = (ServerQueue::default(), SearchedQueue::default());
            let mut numbers = Vec::new();
            for (next_number, (step, class, user, chosen, end)) in (0..).zip(steps) {
                if step < 3 {
                    let class = [Attempt, Monitor, Trial][usize::from(class)];
                    queue.push(next_number, class, &user.to_string());
                    searched.waiting.push((next_number, class, user));
                    numbers.push(next_number);
                } else if !numbers.is_empty() {
                    // Running logins end, and waiting ones give up.
                    let number = numbers.remove(chosen % numbers.len());
                    queue.remove(number, ENDS[end]);
                    searched.remove(number, ENDS[end]);
                }
                proptest::prop_assert_eq!(queue.admit(), searched.admit());
                proptest::prop_assert_eq!(queue.running_count(), searched.running.len());
                let is_idle = searched.running.is_empty() && searched.waiting.is_empty();
                proptest::prop_assert_eq!(queue.is_idle(), is_idle);
            }
        }

        #[test]
        fn no_permit_is_lost_or_exceeded_and_every_login_gets_its_turn(
            logins in proptest::collection::vec((0_u8..3, 0_u8..4, 0_u8..4), 1..40)
        ) {
            let mut queue = ServerQueue::default();
            let classes = [Attempt, Monitor, Trial];
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
                let end = ENDS[usize::from(logins[usize::try_from(number).unwrap()].2)];
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
