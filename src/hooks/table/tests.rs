//! The rules of the table as cases, and its order under any sequence of events.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn id(job: u128) -> JobId {
    JobId::from_u128(job)
}

fn route(caller: u8, destination: &str) -> HookRoute {
    HookRoute { caller: [caller; 32], destination: destination.into() }
}

fn ended(_: JobId) -> Option<bool> {
    Some(true)
}

/// Returns a table with these web hooks of one route, all due at `now`.
fn due(jobs: std::ops::Range<u128>, route: &HookRoute, now: Instant) -> HookTable {
    let mut table = HookTable::new();
    jobs.for_each(|job| table.restore(id(job), route.clone(), now));
    table.release(ended);
    table
}

fn start_all(table: &mut HookTable, now: Instant) -> Vec<JobId> {
    std::iter::from_fn(|| table.start_next(now)).map(|started| started.job).collect()
}

#[test]
fn a_hook_waits_for_the_response_for_the_time_after_it_and_for_the_end_of_the_job() {
    let (mut table, now) = (HookTable::new(), Instant::now());
    let later = now + Duration::from_secs(1);
    table.promise(id(1), route(1, "a"), now);
    table.release(ended);
    assert_eq!((table.next_due(), table.start_next(later)), (None, None), "it is not sent");
    table.answer(id(1), later);
    table.release(|_| Some(false));
    assert_eq!((table.next_due(), table.start_next(later)), (None, None), "the job runs");
    table.release(ended);
    assert_eq!((table.next_due(), table.start_next(now)), (Some(later), None));
    let started = StartedHook { job: id(1), failures: 0 };
    assert_eq!((table.start_next(later), table.start_next(later)), (Some(started), None));
    assert!(table.finish(id(1)));
    assert_eq!((table.len(), table.posting.all()), (0, 0));
}

#[test]
fn a_response_that_is_never_created_owes_nothing() {
    let (mut table, now) = (HookTable::new(), Instant::now());
    table.promise(id(1), route(1, "a"), now);
    table.promise(id(1), route(1, "a"), now);
    table.withdraw(id(1));
    assert_eq!(table.len(), 1);
    table.withdraw(id(1));
    assert_eq!(table.len(), 0);
    // A response that was sent before stays.
    table.promise(id(2), route(1, "a"), now);
    table.answer(id(2), now);
    table.promise(id(2), route(1, "a"), now);
    table.withdraw(id(2));
    table.release(ended);
    assert_eq!(start_all(&mut table, now), [id(2)]);
}

#[test]
fn a_response_during_a_post_makes_the_hook_owed_again() {
    let route = route(1, "a");
    for delivered in [true, false] {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut table = due(1..2, &route, now);
        assert_eq!(start_all(&mut table, now), [id(1)]);
        table.promise(id(1), route.clone(), now);
        table.answer(id(1), later);
        match delivered {
            true => assert!(!table.finish(id(1))),
            false => table.retry_at(id(1), now),
        }
        table.release(ended);
        assert_eq!((table.start_next(now), table.next_due()), (None, Some(later)));
        let again = StartedHook { job: id(1), failures: 0 };
        assert_eq!(table.start_next(later), Some(again));
        assert!(table.finish(id(1)));
    }
}

#[test]
fn a_response_between_two_posts_delays_the_next_one() {
    let (route, now) = (route(1, "a"), Instant::now());
    let mut table = due(1..2, &route, now);
    assert_eq!(start_all(&mut table, now), [id(1)]);
    table.retry_at(id(1), now);
    table.promise(id(1), route, now);
    assert_eq!(table.start_next(now), None);
    let later = now + Duration::from_secs(1);
    table.answer(id(1), later);
    table.release(ended);
    assert_eq!((table.start_next(now), table.next_due()), (None, Some(later)));
    assert_eq!(table.start_next(later), Some(StartedHook { job: id(1), failures: 1 }));
}

#[test]
fn a_hook_ends_with_its_job() {
    let (route, now) = (route(1, "a"), Instant::now());
    let mut table = due(1..4, &route, now);
    let started = table.start_next(now).unwrap();
    table.remove_gone(|job| job == id(3));
    assert_eq!((started.job, table.len()), (id(1), 2), "one is being posted, and one is known");
    table.promise(id(4), route, now);
    table.remove_gone(|_| false);
    assert_eq!(table.len(), 2, "a response is on its way");
    table.answer(id(4), now);
    table.release(|_| None);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_silent_receiver_holds_its_share_and_the_others_go_on() {
    let (silent, now) = (route(1, "silent"), Instant::now());
    let mut table = due(0..100, &silent, now);
    let held = start_all(&mut table, now).len();
    assert!(held <= POSTING_LIMITS.per_destination, "{held}");
    for (job, other) in [(200, route(1, "other")), (201, route(2, "silent"))] {
        table.restore(id(job), other, now);
        table.release(ended);
        assert_eq!(start_all(&mut table, now), [id(job)]);
    }
    // One caller with many silent receivers.
    for n in 0..100_u128 {
        table.restore(id(1000 + n), route(3, &n.to_string()), now);
    }
    table.release(ended);
    start_all(&mut table, now);
    assert!(table.posting.caller(&route(3, "0")) <= POSTING_LIMITS.per_caller);
    table.restore(id(2000), route(4, "last"), now);
    table.release(ended);
    assert_eq!(start_all(&mut table, now), [id(2000)]);
}

impl HookTable {
    /// Compares each index with the entries.
    fn assert_consistent(&self) {
        let mut posting = 0;
        let mut ready: Vec<JobId> = self.ready.values().flatten().map(|(_, job)| *job).collect();
        ready.sort_unstable();
        let mut expected_ready = Vec::new();
        let (mut held, mut waiting) = (0, 0);
        for (job, entry) in &self.entries {
            match entry.phase {
                HookPhase::Held => {
                    held += 1;
                    assert!(self.held.contains(job));
                }
                HookPhase::Waiting(due) => {
                    waiting += 1;
                    assert!(due >= entry.not_before || entry.failures > 0);
                    assert!(self.waiting.contains(&(due, *job)));
                }
                HookPhase::Ready => expected_ready.push(*job),
                HookPhase::Posting { .. } => posting += 1,
            }
            assert!(entry.answering > 0 || entry.is_owed);
        }
        expected_ready.sort_unstable();
        assert_eq!(ready, expected_ready);
        let counts = (self.held.len(), self.waiting.len(), self.posting.all());
        assert_eq!(counts, (held, waiting, posting));
        assert!(self.ready.values().all(|queue| !queue.is_empty()));
        assert!(self.posting.all() <= POSTING_LIMITS.all);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// No post begins while a response is on its way or before the time after it, and two never
    /// overlap.
    #[test]
    fn no_post_precedes_its_response(
        events in prop::collection::vec((0_u8..8, 0_u128..6, 0_u64..5), 0..200),
    ) {
        let (mut table, start) = (HookTable::new(), Instant::now());
        let (mut now, mut posting) = (start, Vec::<JobId>::new());
        // Of each job: the responses on their way, and the earliest time of a post.
        let mut model = HashMap::<JobId, (u32, Instant)>::new();
        for (event, n, wait) in events {
            let (job, later) = (id(n), now + Duration::from_secs(wait));
            let (on_way, not_before) = model.entry(job).or_insert((0, start));
            match event {
                0 => {
                    table.promise(job, route(u8::try_from(n % 2).unwrap(), "a"), now);
                    *on_way += 1;
                }
                1 | 2 if *on_way > 0 => {
                    table.answer(job, later);
                    *on_way -= 1;
                    *not_before = later.max(*not_before);
                }
                3 if *on_way > 0 => {
                    table.withdraw(job);
                    *on_way -= 1;
                }
                4 => table.release(|job| (job != id(5)).then_some(job != id(4))),
                5 => {
                    while let Some(StartedHook { job, .. }) = table.start_next(now) {
                        let (on_way, not_before) = model[&job];
                        prop_assert!(on_way == 0 && not_before <= now && !posting.contains(&job));
                        posting.push(job);
                    }
                }
                6 if !posting.is_empty() => {
                    let job = posting.remove(0);
                    if wait % 2 == 0 { table.retry_at(job, later) } else { table.finish(job); }
                }
                _ => now = later,
            }
            table.assert_consistent();
        }
    }
}
