//! Simulation of the status machine and its schedule, with a simulated clock. Disks and servers
//! fail and recover, checks take time, and users request attempts. Every step checks the
//! invariants.
//!
//! A run is decided by its seed, which every failure names. A seed that once failed goes into
//! `PINNED`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::transition_table::{POLICY, fault, login, measured, probe};
use crate::common::Timestamp;
use crate::lifecycle::*;
use crate::model::{AttemptId, Check, Epoch, Reason, Status, Tags, WriteOutcome};

/// Seeds that have failed at some time.
const PINNED: [u64; 0] = [];
const SEEDS: u64 = 300;
/// Duration of the phase with faults, and of the healthy phase after it.
const FAULTY_PHASE: Duration = Duration::from_secs(6 * 3600);
const HEALTHY_PHASE: Duration = Duration::from_secs(3600);

/// SplitMix64.
struct TestRandom(u64);

impl TestRandom {
    fn random(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random() % limit
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }

    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most) + 1)
    }
}

/// Current state of the disk and the server.
#[derive(Clone, Copy, Default)]
struct World {
    examine: Option<Reason>,
    write: Option<Reason>,
    ssh: Option<Reason>,
    /// A bad check is bad only now and then.
    flaps: bool,
}

impl World {
    fn any(random_source: &mut TestRandom, soft_only: bool) -> Self {
        let choices = |check: fn(Check) -> bool| -> Vec<Option<Reason>> {
            let all = Reason::ALL.iter().copied();
            let fits = all.filter(|r| check(r.failed_check()) && (r.is_soft() || !soft_only));
            std::iter::repeat_n(None, 12).chain(fits.map(Some)).collect()
        };
        Self {
            examine: random_source
                .pick(&choices(|check| matches!(check, Check::Identity | Check::Storage))),
            write: random_source.pick(&choices(|check| check == Check::Storage)),
            ssh: random_source.pick(&choices(|check| check == Check::Ssh)),
            flaps: random_source.below(2) == 0,
        }
    }

    fn now(self, reason: Option<Reason>, random_source: &mut TestRandom) -> Option<Reason> {
        reason.filter(|_| !self.flaps || random_source.below(2) == 0)
    }
}

/// A check that ends at some time.
enum Event {
    Probe { write: bool },
    Login,
    Preparation,
    Attempt(AttemptId),
    Reconnect,
    WorldChange,
}

struct Run {
    seed: u64,
    random_source: TestRandom,
    now: Duration,
    world: World,
    soft_only: bool,
    record: StoreRecord,
    in_flight: InFlight,
    events: BTreeMap<(Duration, u64), Event>,
    drops: Vec<Duration>,
    /// By the monitor or by an attempt.
    last_probe: Duration,
}

impl Run {
    fn new(seed: u64, soft_only: bool) -> Self {
        let durable = DurableRecord::new_connecting(Epoch(1), Timestamp(0));
        let mut run = Self {
            seed,
            random_source: TestRandom(seed),
            now: Duration::ZERO,
            world: World::default(),
            soft_only,
            record: StoreRecord::new(durable),
            in_flight: InFlight::default(),
            events: BTreeMap::new(),
            drops: Vec::new(),
            last_probe: Duration::ZERO,
        };
        run.after(Duration::from_secs(1), Event::WorldChange);
        run.after(Duration::from_secs(1), Event::Reconnect);
        run.feed(StepInput::Started);
        run
    }

    fn after(&mut self, wait: Duration, event: Event) {
        let order = self.random_source.random();
        self.events.insert((self.now + wait, order), event);
    }

    /// To the next thing that happens, whichever comes first: an event, or what is due.
    fn advance(&mut self, faulty: bool) {
        let event = self.events.first_key_value().map(|(key, _)| *key);
        let due = self.record.due_check(self.in_flight);
        match (event, due) {
            (Some(key), due) if due.is_none_or(|due| key.0 <= due) => {
                self.now = self.now.max(key.0);
                let event = self.events.remove(&key).unwrap();
                self.on_event(event, faulty);
            }
            (_, Some(due)) => {
                self.now = self.now.max(due);
                self.feed(StepInput::Due(self.in_flight));
            }
            (_, None) => panic!("seed {}: nothing will ever happen", self.seed),
        }
    }

    fn on_event(&mut self, event: Event, faulty: bool) {
        match event {
            Event::WorldChange => {
                let wait = self.random_source.millis(1_200_000);
                self.world = match faulty {
                    true => World::any(&mut self.random_source, self.soft_only),
                    false => World::default(),
                };
                self.after(wait, Event::WorldChange);
            }
            Event::Reconnect if !faulty => {}
            Event::Reconnect => {
                let wait = self.random_source.millis(3_600_000);
                self.after(wait, Event::Reconnect);
                self.feed(StepInput::ReconnectRequested {
                    cause: Cause::User,
                    tags: Tags::default(),
                });
            }
            Event::Probe { write } => {
                self.in_flight.probe = false;
                let probed = self.probe(write);
                self.feed(StepInput::Probed(probed));
            }
            Event::Login => {
                self.in_flight.login = false;
                let reason = self.world.now(self.world.ssh, &mut self.random_source);
                self.feed(StepInput::LoggedIn(login(reason)));
            }
            Event::Preparation => {
                let failed = faulty && self.random_source.below(20) == 0;
                self.feed(match failed {
                    true => StepInput::PreparationFailed(fault(Reason::AgentBusy)),
                    false => StepInput::AttemptPrepared,
                });
            }
            Event::Attempt(attempt) => {
                let probe = self.probe(true);
                let reason = self.world.now(self.world.ssh, &mut self.random_source);
                let outcome = match self.random_source.below(40) {
                    0 => Err(fault(Reason::AgentBusy)),
                    _ => Ok(AttemptOutcome { probe, login: login(reason) }),
                };
                self.feed(StepInput::AttemptEnded { attempt, outcome });
            }
        }
    }

    fn probe(&mut self, write: bool) -> ProbeOutcome {
        let examine = self.world.now(self.world.examine, &mut self.random_source);
        let written = self.world.now(self.world.write, &mut self.random_source);
        let seen = probe(examine, written);
        ProbeOutcome { written: seen.written.filter(|_| write), ..seen }
    }

    fn feed(&mut self, input: StepInput) {
        let random = self.random_source.random();
        let wall = Timestamp(i64::try_from(self.now.as_millis()).unwrap());
        let moment = StepTime { wall, uptime: self.now, random };
        let before = self.record.clone();
        let (after, effects) = step(before.clone(), input, &POLICY, moment);
        self.record = after;
        for effect in effects {
            match effect {
                StepEffect::PrepareAttempt => {
                    // The login is stopped and never ends. The probe ends while the attempt runs.
                    self.in_flight.login = false;
                    self.events.retain(|_, event| !matches!(event, Event::Login));
                    let wait = self.random_source.millis(30_000);
                    self.after(wait, Event::Preparation);
                }
                StepEffect::StartAttempt(attempt) => {
                    self.last_probe = self.now;
                    let wait = self.random_source.millis(30_000);
                    self.after(wait, Event::Attempt(attempt.id));
                }
                StepEffect::Probe { write } => {
                    assert!(!self.in_flight.probe, "seed {}: two probes at once", self.seed);
                    self.in_flight.probe = true;
                    self.last_probe = self.now;
                    let wait = self.random_source.millis(5_250);
                    self.after(wait, Event::Probe { write });
                }
                StepEffect::LogIn { .. } => {
                    assert!(!self.in_flight.login, "seed {}: two logins at once", self.seed);
                    self.in_flight.login = true;
                    let wait = self.random_source.millis(30_000);
                    self.after(wait, Event::Login);
                }
                StepEffect::PublishTransition(transition) => {
                    if (transition.old, transition.new) == (Status::Connected, Status::Disconnected)
                    {
                        self.drops.push(self.now);
                    }
                }
                StepEffect::RecordHistory(..)
                | StepEffect::RecordCapacity(_)
                | StepEffect::RejectRequests(_)
                | StepEffect::CancelAttempt(_)
                | StepEffect::CompleteAttempt(..) => {}
            }
        }
        self.check();
    }

    fn check(&self) {
        let (r, seed) = (&self.record, self.seed);
        let status = r.durable.status;
        assert!(status == Status::Connecting || r.running.is_none(), "seed {seed}");
        assert!(status != Status::Connecting || r.has_attempt(), "seed {seed}");
        if status == Status::Connected {
            for check in [&r.checks.examine, &r.checks.write, &r.checks.ssh] {
                let hard = check.fault.as_ref().is_some_and(|fault| !fault.reason().is_soft());
                assert!(!hard, "seed {seed}: Connected with {:?}", check.fault);
                assert!(check.consecutive_failures() < POLICY.fail_after, "seed {seed}");
            }
        }
        if status != Status::Connecting {
            // An attempt, which probes too, takes half a minute at most; then an interval, a probe.
            let most = Duration::from_secs(30 + 10 + 6);
            let gap = self.now.saturating_sub(self.last_probe);
            assert!(gap <= most, "seed {seed}: no probe for {gap:?}");
        }
    }
}

fn run(seed: u64, soft_only: bool) -> Run {
    let mut run = Run::new(seed, soft_only);
    while run.now < FAULTY_PHASE {
        run.advance(true);
    }
    // A probe that began while the world was odd may end after it.
    run.world = World::default();
    while run.now < FAULTY_PHASE + HEALTHY_PHASE {
        run.advance(false);
    }
    assert_eq!(
        run.record.durable.status,
        Status::Connected,
        "seed {seed}: well, and not Connected"
    );
    run
}

#[test]
fn a_store_is_never_connected_with_a_hard_fault_and_ends_connected_when_healthy() {
    let mut drops = 0;
    for seed in PINNED.into_iter().chain(0..SEEDS) {
        drops += run(seed, false).drops.len();
    }
    assert!(drops > 1000, "the world was too good to prove anything: {drops} drops");
}

#[test]
fn soft_faults_drop_a_store_at_most_once_in_fail_after_checks() {
    let mut drops = 0;
    for seed in PINNED.into_iter().chain(0..SEEDS) {
        let run = run(seed, true);
        drops += run.drops.len();
        for pair in run.drops.windows(2) {
            // `fail_after` checks lie between two drops, and each but the first waits an interval.
            let least = POLICY.probe_interval * (POLICY.fail_after - 1);
            assert!(pair[1] - pair[0] >= least, "seed {seed}: {pair:?}");
        }
    }
    assert!(drops > 200, "the world was too good to prove anything: {drops} drops");
}

#[test]
fn a_healthy_world_changes_nothing() {
    let mut run = Run::new(1, false);
    run.events.clear();
    let attempt = run.record.durable.attempt;
    let attempt = attempt.next_id();
    run.after(Duration::from_millis(500), Event::Preparation);
    run.after(Duration::from_secs(1), Event::Attempt(attempt));
    while run.now < Duration::from_secs(86_400) {
        run.advance(false);
    }
    assert!(run.drops.is_empty());
    assert_eq!(run.record.durable.attempt, attempt);
    assert_eq!(run.record.durable.capacity, Some(measured().capacity));
    assert!(matches!(run.record.last_write, Some(WriteOutcome::Succeeded(_))));
}
