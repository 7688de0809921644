//! The rules of the table as a table of cases, and its bounds under any order of events.

use proptest::prelude::*;

use super::*;
use crate::common::Timestamp;

const SMALL: JobLimits =
    JobLimits { jobs: 6, running: 4, bytes: 1000, keep: Duration::from_secs(100) };

fn request(job: u128, caller: u8, request: u8) -> JobRequest {
    JobRequest {
        job: JobId::from_u128(job),
        caller: [caller; 32],
        request: [request; 32],
        began: Timestamp(0),
    }
}

fn id(job: u128) -> JobId {
    JobId::from_u128(job)
}

fn taken(table: &mut JobTable) -> Vec<JobId> {
    table.take_dropped().into_iter().collect()
}

fn at(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

impl JobTable {
    fn with_ended(jobs: &[(u128, u8)]) -> Self {
        let mut table = Self::new(SMALL);
        for (job, caller) in jobs {
            table.run_to_end(*job, *caller, 10);
        }
        table
    }

    fn run_to_end(&mut self, job: u128, caller: u8, bytes: u64) {
        assert_eq!(self.admit(&request(job, caller, 1)), JobAdmission::Begins);
        assert!(self.start(id(job)));
        self.finish(id(job), bytes, at(0));
    }

    /// Counts everything anew.
    fn assert_consistent(&self) {
        let ended = |entry: &&JobEntry| matches!(entry.phase, JobPhase::Ended(_));
        let all: Vec<EndedJob> = self.ended.in_drop_order().collect();
        assert_eq!(all.len(), self.jobs.values().filter(ended).count());
        assert_eq!(self.running, self.jobs.len() - all.len());
        let bytes = |entry: &JobEntry| u64::from(entry.bytes);
        assert_eq!(self.bytes, self.jobs.values().map(bytes).sum::<u64>());
        for (waits_for_caller, jobs) in [(false, &self.ended.given), (true, &self.ended.waiting)] {
            for (&number, ended) in jobs {
                let entry = &self.jobs[&ended.job];
                assert_eq!(entry.phase, JobPhase::Ended(EndOrder { waits_for_caller, number }));
                assert_eq!(entry.caller, ended.caller);
            }
        }
        for (caller, jobs) in &self.callers {
            let own = || self.jobs.values().filter(|entry| entry.caller == *caller);
            assert_eq!(jobs.jobs, own().count());
            assert_eq!(jobs.bytes, own().map(bytes).sum::<u64>());
            assert_eq!(jobs.running, jobs.jobs - own().filter(ended).count());
            assert!(jobs.jobs > 0 && jobs.jobs <= self.limits.jobs / 2);
            assert!(jobs.running <= self.limits.running / 2);
        }
        assert_eq!(self.jobs.len(), self.callers.values().map(|jobs| jobs.jobs).sum::<usize>());
        assert!(self.jobs.len() <= self.limits.jobs && self.running <= self.limits.running);
    }
}

#[test]
fn one_id_is_one_request_of_one_caller() {
    let mut table = JobTable::new(SMALL);
    let first = request(1, 1, 1);
    assert_eq!(table.admit(&first), JobAdmission::Begins);
    // It joins at once, and after the begin is durable.
    assert_eq!(table.admit(&first), JobAdmission::Joins);
    assert!(table.start(id(1)));
    assert!(!table.start(id(1)));
    assert_eq!(table.admit(&first), JobAdmission::Joins);
    for other in [request(1, 2, 1), request(1, 1, 2)] {
        assert_eq!(table.admit(&other), JobAdmission::Taken);
    }
    table.finish(id(1), 10, at(0));
    assert_eq!(table.admit(&first), JobAdmission::Ended);
    for other in [request(1, 2, 1), request(1, 1, 2)] {
        assert_eq!(table.admit(&other), JobAdmission::Taken);
    }
    assert_eq!(table.has_ended(id(1)), Some(true));
    assert_eq!(table.has_ended(id(2)), None);
}

#[test]
fn a_job_that_is_not_durable_in_time_never_begins() {
    let mut table = JobTable::new(SMALL);
    table.admit(&request(1, 1, 1));
    assert_eq!(table.promise(id(1)), JobPromise::Abandoned);
    assert_eq!(table.promise(id(1)), JobPromise::Abandoned);
    assert!(!table.start(id(1)));
    assert_eq!(table.has_ended(id(1)), None);

    table.admit(&request(2, 1, 1));
    table.start(id(2));
    assert_eq!(table.promise(id(2)), JobPromise::Kept);
    table.finish(id(2), 1, at(0));
    assert_eq!(table.promise(id(2)), JobPromise::Over);
    assert_eq!(table.promise(id(3)), JobPromise::Over);
}

#[test]
fn a_repeatable_result_is_kept_only_for_a_caller_that_was_referred_to_it() {
    let mut table = JobTable::new(SMALL);
    table.admit(&request(1, 1, 1));
    table.start(id(1));
    assert_eq!(table.decide_end(id(1), false), JobEnding::Kept);
    assert_eq!(table.decide_end(id(1), true), JobEnding::Dropped);
    table.promise(id(1));
    assert_eq!(table.decide_end(id(1), true), JobEnding::Kept);
}

#[test]
fn a_result_that_its_caller_has_goes_first_and_then_the_oldest() {
    let mut table = JobTable::with_ended(&[(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)]);
    table.mark_given(id(4));
    table.mark_given(id(5));
    table.mark_given(id(5));
    for (new, gone) in [(7, 4), (8, 5), (9, 1), (10, 2)] {
        assert_eq!(table.admit(&request(new, u8::try_from(new).unwrap(), 1)), JobAdmission::Begins);
        assert_eq!(taken(&mut table), [id(gone)], "{new}");
        table.assert_consistent();
    }
}

#[test]
fn one_caller_drops_its_own_results_beyond_half_of_the_table() {
    let mut table = JobTable::with_ended(&[(1, 2), (2, 1), (3, 1), (4, 1)]);
    assert_eq!(table.admit(&request(5, 1, 1)), JobAdmission::Begins);
    assert_eq!(taken(&mut table), [id(2)]);
    // And so it does beyond half of the bytes.
    table.start(id(5));
    table.finish(id(5), 485, at(0));
    assert_eq!(taken(&mut table), [id(3)]);
    table.assert_consistent();
}

#[test]
fn a_running_job_is_never_dropped_for_another() {
    let mut table = JobTable::new(JobLimits { running: 8, ..SMALL });
    for job in 1..=3 {
        assert_eq!(table.admit(&request(job, 1, 1)), JobAdmission::Begins);
    }
    // Half of the table, and none of it has ended.
    assert_eq!(table.admit(&request(9, 1, 1)), JobAdmission::Full);
    for job in 4..=6 {
        assert_eq!(table.admit(&request(job, 2, 1)), JobAdmission::Begins);
    }
    // The whole table.
    assert_eq!(table.admit(&request(7, 3, 1)), JobAdmission::Full);
    assert_eq!(taken(&mut table), []);
    table.assert_consistent();
}

#[test]
fn one_caller_runs_at_most_half_of_the_running_jobs() {
    let mut table = JobTable::new(SMALL);
    for job in 1..=2 {
        assert_eq!(table.admit(&request(job, 1, 1)), JobAdmission::Begins);
    }
    assert_eq!(table.admit(&request(9, 1, 1)), JobAdmission::Full);
    assert_eq!(table.admit(&request(1, 1, 1)), JobAdmission::Joins);
    for job in 3..=4 {
        assert_eq!(table.admit(&request(job, 2, 1)), JobAdmission::Begins);
    }
    // As many as may run.
    assert_eq!(table.admit(&request(9, 3, 1)), JobAdmission::Full);
    table.assert_consistent();
    // A job that has ended makes room for its caller.
    table.start(id(1));
    table.finish(id(1), 10, at(0));
    assert_eq!(table.admit(&request(9, 1, 1)), JobAdmission::Begins);
}

#[test]
fn a_begin_that_was_not_committed_leaves_nothing_to_remove() {
    let mut table = JobTable::new(SMALL);
    for job in 1..100 {
        assert_eq!(table.admit(&request(job, 1, 1)), JobAdmission::Begins);
        if job % 2 == 0 {
            table.promise(id(job));
        }
        table.forget_job(id(job));
        assert!(!table.has_dropped());
        assert_eq!(table.has_ended(id(job)), None);
    }
    table.assert_consistent();
}

#[test]
fn the_row_of_a_dropped_job_goes_with_the_begin_of_the_next_one_with_its_id() {
    // The next job begins before the row is removed, or while that is tried.
    for is_taken in [false, true] {
        for begins in [false, true] {
            let mut table = JobTable::with_ended(&[(1, 1)]);
            table.drop_job(id(1));
            let dropped = if is_taken { table.take_dropped() } else { BTreeSet::new() };
            assert_eq!(table.admit(&request(1, 1, 2)), JobAdmission::Begins);
            table.restore_dropped(dropped);
            assert!(!table.has_dropped(), "the row of a new job would be removed");
            match begins {
                true => assert!(table.start(id(1))),
                false => table.forget_job(id(1)),
            }
            assert_eq!(taken(&mut table), if begins { vec![] } else { vec![id(1)] });
        }
    }
}

#[test]
fn a_result_expires_after_its_time_even_if_it_is_of_an_earlier_run() {
    let mut table = JobTable::new(SMALL);
    table.restore_ended(&request(1, 1, 1), 10, at(99), at(0));
    table.restore_ended(&request(2, 1, 1), 10, at(1000), at(0));
    table.restore_interrupted(&request(3, 1, 1));
    table.expire(at(0));
    assert_eq!(taken(&mut table), []);
    // Age of each: those that are oldest come first in the ledger.
    let mut table = JobTable::new(SMALL);
    table.restore_interrupted(&request(3, 1, 1));
    table.restore_ended(&request(2, 1, 1), 10, at(1000), at(0));
    table.restore_ended(&request(1, 2, 1), 10, at(99), at(0));
    table.run_to_end(4, 2, 10);
    table.mark_given(id(4));
    for (now, gone) in [(0, vec![id(2)]), (1, vec![id(1)]), (99, vec![]), (100, vec![id(4)])] {
        table.expire(at(now));
        assert_eq!(taken(&mut table), gone, "{now}");
        table.assert_consistent();
    }
    assert_eq!(table.has_ended(id(3)), Some(false));
}

#[test]
fn jobs_that_could_not_be_removed_are_removed_later() {
    let mut table = JobTable::with_ended(&[(1, 1)]);
    table.drop_job(id(1));
    assert!(table.has_dropped());
    let dropped = table.take_dropped();
    assert!(!table.has_dropped());
    table.restore_dropped(dropped);
    assert_eq!(taken(&mut table), [id(1)]);
}

#[derive(Clone, Debug)]
enum Event {
    Admit(u128, u8, u8),
    Start(u128),
    Promise(u128),
    Finish(u128, u64),
    Give(u128),
    Expire(u64),
    Drop(u128),
    Forget(u128),
}

fn event() -> impl Strategy<Value = Event> {
    let job = || 0..12_u128;
    prop_oneof![
        4 => (job(), 0..3_u8, 0..2_u8).prop_map(|(job, caller, request)| Event::Admit(job, caller, request)),
        3 => job().prop_map(Event::Start),
        1 => job().prop_map(Event::Promise),
        3 => (job(), 0..600_u64).prop_map(|(job, bytes)| Event::Finish(job, bytes)),
        1 => job().prop_map(Event::Give),
        1 => (0..300_u64).prop_map(Event::Expire),
        1 => job().prop_map(Event::Drop),
        1 => job().prop_map(Event::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_bounds_hold_and_no_running_job_is_lost(events in prop::collection::vec(event(), 0..80)) {
        let mut table = JobTable::new(SMALL);
        for event in events {
            let running = |table: &JobTable| -> Vec<JobId> {
                let is_running = |entry: &JobEntry| !matches!(entry.phase, JobPhase::Ended(_));
                table.jobs.iter().filter(|(_, entry)| is_running(entry)).map(|(job, _)| *job).collect()
            };
            let (before, count) = (running(&table), table.jobs.len());
            let mut ends = None;
            match event {
                Event::Admit(job, caller, digest) => {
                    let admission = table.admit(&request(job, caller, digest));
                    if admission != JobAdmission::Begins {
                        prop_assert_eq!(table.jobs.len(), count);
                    }
                }
                Event::Start(job) => { table.start(id(job)); }
                Event::Promise(job) => { table.promise(id(job)); }
                Event::Finish(job, bytes) => {
                    ends = Some(id(job));
                    table.finish(id(job), bytes, at(0));
                    // One result may be longer than half of the table, and then is the only one.
                    let jobs = |caller: &CallerJobs| caller.bytes <= SMALL.bytes / 2 || caller.jobs - caller.running == 1;
                    prop_assert!(table.callers.values().all(jobs));
                }
                Event::Give(job) => table.mark_given(id(job)),
                Event::Expire(now) => table.expire(at(now)),
                Event::Drop(job) => {
                    ends = Some(id(job));
                    table.drop_job(id(job));
                }
                Event::Forget(job) => {
                    ends = Some(id(job));
                    table.forget_job(id(job));
                }
            }
            table.assert_consistent();
            prop_assert!(table.dropped.iter().all(|job| !table.jobs.contains_key(job)));
            let after = running(&table);
            prop_assert!(before.iter().all(|job| after.contains(job) || ends == Some(*job)));
        }
    }
}
