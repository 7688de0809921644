//! The rules of the table as cases, and its order under any sequence of events.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// The time at which the jobs began.
const BEGAN: Timestamp = Timestamp(1_482_426_606_000);

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
    jobs.for_each(|job| table.restore(id(job), route.clone(), BEGAN, now));
    table.release(ended);
    table
}

fn start_all(table: &mut HookTable, now: Instant) -> Vec<JobId> {
    std::iter::from_fn(|| table.start_next(now)).map(|started| started.id.job).collect()
}

/// Starts the post of the only web hook that is due.
fn start_one(table: &mut HookTable, now: Instant) -> HookId {
    let started = table.start_next(now).unwrap();
    assert_eq!(table.start_next(now), None);
    started.id
}

#[test]
fn a_hook_waits_for_the_response_for_the_time_after_it_and_for_the_end_of_the_job() {
    let (mut table, now) = (HookTable::new(), Instant::now());
    let later = now + Duration::from_secs(1);
    let hook = table.promise(id(1), route(1, "a"), BEGAN, now);
    table.release(ended);
    assert_eq!((table.next_due(), table.start_next(later)), (None, None), "it is not sent");
    table.answer(hook, later);
    table.release(|_| Some(false));
    assert_eq!((table.next_due(), table.start_next(later)), (None, None), "the job runs");
    table.release(ended);
    assert_eq!((table.next_due(), table.start_next(now)), (Some(later), None));
    let started = StartedHook { id: hook, failures: 0 };
    assert_eq!((table.start_next(later), table.start_next(later)), (Some(started), None));
    assert!(table.finish(hook));
    assert_eq!((table.len(), table.posting.all()), (0, 0));
}

#[test]
fn a_response_that_is_never_created_owes_nothing() {
    let (mut table, now) = (HookTable::new(), Instant::now());
    let first = table.promise(id(1), route(1, "a"), BEGAN, now);
    assert_eq!(table.promise(id(1), route(1, "a"), BEGAN, now), first);
    table.withdraw(first);
    assert_eq!(table.len(), 1);
    table.withdraw(first);
    assert_eq!(table.len(), 0);
    // A response that was sent before stays.
    let second = table.promise(id(2), route(1, "a"), BEGAN, now);
    table.answer(second, now);
    table.promise(id(2), route(1, "a"), BEGAN, now);
    table.withdraw(second);
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
        let hook = start_one(&mut table, now);
        assert_eq!(table.promise(id(1), route.clone(), BEGAN, now), hook);
        table.answer(hook, later);
        match delivered {
            true => assert!(!table.finish(hook)),
            false => table.retry_at(hook, now),
        }
        table.release(ended);
        assert_eq!((table.start_next(now), table.next_due()), (None, Some(later)));
        let again = StartedHook { id: hook, failures: 0 };
        assert_eq!(table.start_next(later), Some(again));
        assert!(table.finish(hook));
    }
}

#[test]
fn a_response_between_two_posts_delays_the_next_one() {
    let (route, now) = (route(1, "a"), Instant::now());
    let mut table = due(1..2, &route, now);
    let hook = start_one(&mut table, now);
    table.retry_at(hook, now);
    table.promise(id(1), route, BEGAN, now);
    assert_eq!(table.start_next(now), None);
    let later = now + Duration::from_secs(1);
    table.answer(hook, later);
    table.release(ended);
    assert_eq!((table.start_next(now), table.next_due()), (None, Some(later)));
    assert_eq!(table.start_next(later), Some(StartedHook { id: hook, failures: 1 }));
}

/// The steps of the web hook of an earlier job, when the job of another request begins.
#[test]
fn a_job_that_begins_ends_the_hook_of_an_earlier_one_in_any_phase() {
    let (old, new, now) = (route(1, "old"), route(2, "new"), Instant::now());
    let later = now + Duration::from_secs(1);
    for (phase, is_posting) in [
        ("answering", false),
        ("held", false),
        ("waiting", false),
        ("ready", false),
        ("posting", true),
    ] {
        // A hook is ready only while its receiver has its share.
        let others = if phase == "ready" { 2..40 } else { 2..2 };
        let mut table = due(others, &old, now);
        start_all(&mut table, now);
        let earlier = table.promise(id(1), old.clone(), BEGAN, now);
        if phase != "answering" {
            table.answer(earlier, now);
        }
        if ["waiting", "ready", "posting"].contains(&phase) {
            table.release(ended);
        }
        if phase == "ready" {
            start_all(&mut table, now);
            assert_eq!(table.entries[&id(1)].phase, HookPhase::Ready);
        }
        if phase == "posting" {
            assert_eq!(start_one(&mut table, now), earlier);
            table.promise(id(1), old.clone(), BEGAN, now);
        }
        let others = table.len() - 1;
        let others_posting = table.posting.all() - usize::from(is_posting);
        assert_eq!(table.forget_earlier(id(1)), is_posting, "{phase}");
        assert!(!table.is_owed(earlier) && !table.forget_earlier(id(1)), "{phase}");
        assert_eq!((table.len(), table.posting.all()), (others, others_posting), "{phase}");
        table.assert_consistent();

        // The new job has its own route, and late events of the earlier one change nothing.
        let hook = table.promise(id(1), new.clone(), BEGAN, now);
        assert_ne!(hook, earlier);
        table.answer(earlier, now);
        table.withdraw(earlier);
        table.release(ended);
        assert_eq!(
            table.entries[&id(1)].phase,
            HookPhase::Held,
            "{phase}: the response is on its way"
        );
        table.answer(hook, later);
        table.release(ended);
        assert!(!start_all(&mut table, now).contains(&id(1)), "{phase}");
        assert_eq!(table.start_next(later), Some(StartedHook { id: hook, failures: 0 }));
        assert!(!table.finish(earlier), "{phase}");
        table.retry_at(earlier, now);
        assert_eq!((table.posting.destination(&new), table.is_owed(hook)), (1, true), "{phase}");
        assert!(table.finish(hook));
        table.assert_consistent();
    }
    // A response that is not created owes nothing, whatever the earlier job owed.
    let mut table = due(1..2, &old, now);
    table.forget_earlier(id(1));
    let hook = table.promise(id(1), new, BEGAN, now);
    table.withdraw(hook);
    assert_eq!(table.len(), 0);
}

#[test]
fn a_hook_ends_with_its_job() {
    let (route, now) = (route(1, "a"), Instant::now());
    let mut table = due(1..4, &route, now);
    let started = table.start_next(now).unwrap();
    table.remove_gone(|job| job == id(3));
    assert_eq!((started.id.job, table.len()), (id(1), 2), "one is being posted, and one is known");
    let hook = table.promise(id(4), route, BEGAN, now);
    table.remove_gone(|_| false);
    assert_eq!(table.len(), 2, "a response is on its way");
    table.answer(hook, now);
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
        table.restore(id(job), other, BEGAN, now);
        table.release(ended);
        assert_eq!(start_all(&mut table, now), [id(job)]);
    }
    // One caller with many silent receivers.
    for n in 0..100_u128 {
        table.restore(id(1000 + n), route(3, &n.to_string()), BEGAN, now);
    }
    table.release(ended);
    start_all(&mut table, now);
    assert!(table.posting.caller(&route(3, "0")) <= POSTING_LIMITS.per_caller);
    table.restore(id(2000), route(4, "last"), BEGAN, now);
    table.release(ended);
    assert_eq!(start_all(&mut table, now), [id(2000)]);
}

#[test]
fn a_silent_receiver_of_many_callers_holds_its_share_and_no_caller_two_of_its_places() {
    let now = Instant::now();
    let mut table = HookTable::new();
    for (caller, job) in (0..20).flat_map(|caller| (0..3).map(move |n| (caller, n))) {
        table.restore(id(u128::from(caller) * 10 + job), route(caller, "silent"), BEGAN, now);
    }
    table.release(ended);
    let callers: Vec<u128> = start_all(&mut table, now)
        .into_iter()
        .map(|job| u128::from_str_radix(&job.expose_digits(), 16).unwrap() / 10)
        .collect();
    assert_eq!(callers, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(POSTING_LIMITS.per_destination, callers.len());
    table.restore(id(1000), route(0, "other"), BEGAN, now);
    table.release(ended);
    assert_eq!(start_all(&mut table, now), [id(1000)]);
}

#[test]
fn the_counts_have_what_is_owed_and_what_never_arrives() {
    let (route, now) = (route(1, "a"), Instant::now());
    let later = Timestamp(BEGAN.0 + 1000);
    let counts = |pending, given_up, oldest| HookCounts { pending, given_up, oldest };
    let mut table = HookTable::new();
    assert_eq!(table.counts(), HookCounts::default());
    assert!(!table.needs_sweep());
    table.promise(id(1), route.clone(), BEGAN, now);
    assert_eq!(table.counts(), counts(0, 0, None), "the response is not sent");
    assert!(!table.forget_earlier(id(1)));
    for (job, began) in [(2, later), (3, BEGAN), (4, later), (5, later), (6, later), (7, later)] {
        table.restore(id(job), route.clone(), began, now);
    }
    assert_eq!((table.counts(), table.take_dropped()), (counts(6, 0, Some(BEGAN)), 0));
    table.release(|job| (job != id(2)).then_some(job != id(7)));
    assert_eq!(table.counts(), counts(5, 1, Some(BEGAN)), "its job is gone");
    let started: Vec<_> =
        std::iter::from_fn(|| table.start_next(now)).map(|started| started.id).collect();
    let [third, fourth, fifth, sixth] = started[..] else { panic!("{started:?}") };
    assert!(table.finish(third));
    assert_eq!(table.counts(), counts(4, 1, Some(later)), "it is delivered");
    assert_eq!(table.give_up(fourth), Some(2));
    table.lose_result(fifth);
    table.promise(id(6), route, BEGAN, now);
    assert_eq!(table.give_up(sixth), None, "it is owed again");
    assert_eq!(table.counts(), counts(2, 3, Some(later)));
    assert_eq!((table.take_dropped(), table.take_dropped()), (2, 0), "one was given up");
    table.remove_gone(|job| job == id(6));
    assert!(table.needs_sweep());
    assert_eq!((table.counts(), table.take_dropped()), (counts(1, 4, Some(later)), 1));
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
        events in prop::collection::vec((0_u8..9, 0_u128..6, 0_u64..5), 0..200),
    ) {
        let (mut table, start) = (HookTable::new(), Instant::now());
        let (mut now, mut posting) = (start, Vec::<HookId>::new());
        // Of each job: the responses on their way, also of earlier jobs, and the earliest time of a
        // post.
        let mut model = HashMap::<JobId, (Vec<HookId>, Instant)>::new();
        for (event, n, wait) in events {
            let (job, later) = (id(n), now + Duration::from_secs(wait));
            let (on_way, not_before) = model.entry(job).or_insert((Vec::new(), start));
            match event {
                0 => {
                    let hook = table.promise(job, route(u8::try_from(n % 2).unwrap(), "a"), BEGAN, now);
                    prop_assert!(table.is_owed(hook));
                    on_way.push(hook);
                }
                1 | 2 if !on_way.is_empty() => {
                    let hook = on_way.remove(0);
                    if table.is_owed(hook) {
                        *not_before = later.max(*not_before);
                    }
                    table.answer(hook, later);
                }
                3 if !on_way.is_empty() => table.withdraw(on_way.remove(0)),
                4 => table.release(|job| (job != id(5)).then_some(job != id(4))),
                5 => {
                    while let Some(StartedHook { id: hook, .. }) = table.start_next(now) {
                        let (on_way, not_before) = &model[&hook.job];
                        prop_assert!(!on_way.contains(&hook) && *not_before <= now);
                        prop_assert!(!posting.contains(&hook));
                        posting.push(hook);
                    }
                }
                6 if !posting.is_empty() => {
                    let hook = posting.remove(0);
                    if wait % 2 == 0 { table.retry_at(hook, later) } else { table.finish(hook); }
                }
                7 => {
                    let is_posting = posting.iter().any(|hook| hook.job == job && table.is_owed(*hook));
                    prop_assert_eq!(table.forget_earlier(job), is_posting);
                    prop_assert!(!on_way.iter().any(|hook| table.is_owed(*hook)));
                    *not_before = start;
                }
                _ => now = later,
            }
            table.assert_consistent();
        }
    }
}
