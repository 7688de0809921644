//! One store's lane: reads the outbox, sends, acknowledges, and waits as `delivery` says.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info_span, warn};

use super::context::Means;
use super::endpoints::Destinations;
use super::outbox_reader::{LedgerTrouble, Outbox};
use super::status::{Board, LaneStatus};
use crate::common::crash_point;
use crate::common::{Backoff, Timestamp};
use crate::delivery::{DeliveryOutcome, DeliveryState, LastFailure, NextAction, ReceiverReply};
use crate::ledger::OutboxDepth;
use crate::model::{Notice, Position, StoreUuid};
use crate::wire::WebhookEvent;

/// Between tries while the ledger cannot be read or told.
const LEDGER_BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(60));

/// What all lanes work with.
pub(super) struct Shared {
    pub(super) means: Means,
    pub(super) board: Board,
    /// Turns that may be taken at once.
    pub(super) turns: Semaphore,
    pub(super) destinations: Arc<Destinations>,
    pub(super) stop: CancellationToken,
    /// From here on uptime is counted.
    pub(super) started: Instant,
}

/// A lane has ended, because nothing was left to send or with the notifier.
pub(super) struct Ended {
    pub(super) store: StoreUuid,
    /// Changed, when the outbox moved after the lane looked last.
    pub(super) wake: watch::Receiver<()>,
}

/// What a lane does between two turns.
#[derive(Clone, Copy)]
enum Pause {
    /// Nothing.
    No,
    Until(Instant),
    /// Waits to be woken.
    Woken,
    /// Ends.
    End,
}

/// One store's lane.
pub(super) struct LaneTask {
    store: StoreUuid,
    shared: Arc<Shared>,
    wake: watch::Receiver<()>,
    lane: DeliveryState,
    outbox: Outbox,
    /// What waits; none when it must be asked for.
    waiting: Option<OutboxDepth>,
    /// Whether something may have come since.
    moved: bool,
    /// How many requests of the first notice have been taken.
    taken: (Position, usize),
    /// Turns in a row that the ledger spoiled.
    spoiled: u32,
    /// Why the first notice cannot be read.
    unread: Option<String>,
}

impl LaneTask {
    pub(super) fn new(
        store: StoreUuid,
        shared: Arc<Shared>,
        wake: watch::Receiver<()>,
        lane: DeliveryState,
    ) -> Self {
        let outbox = Outbox::new(shared.means.ledger.clone(), store);
        let taken = (Position::default(), 0);
        Self {
            store,
            shared,
            wake,
            lane,
            outbox,
            waiting: None,
            moved: false,
            taken,
            spoiled: 0,
            unread: None,
        }
    }

    /// Runs until nothing is left. At the stop the request in flight is the last one; without one, what
    /// waits for its time is due now, once.
    pub(super) async fn run(mut self) -> Ended {
        let shared = Arc::clone(&self.shared);
        // The semaphore is never closed; if it were, ending is right.
        while let Ok(turn) = shared.turns.acquire().await {
            let last = shared.stop.is_cancelled();
            if last {
                self.lane.make_due();
            }
            let pause = self.turn().await;
            drop(turn);
            self.show(pause);
            if last || !self.rest(pause).await {
                break;
            }
        }
        shared.board.clear(self.store);
        Ended { store: self.store, wake: self.wake }
    }

    /// Waits for the next turn, which the stop brings forward; false when there is none.
    async fn rest(&mut self, pause: Pause) -> bool {
        let until = match pause {
            Pause::No => return !self.shared.stop.is_cancelled(),
            Pause::End => return false,
            Pause::Until(until) => Some(until),
            Pause::Woken => None,
        };
        tokio::select! {
            biased;
            woken = self.wake.changed() => {
                self.moved = true;
                woken.is_ok()
            }
            () = self.shared.stop.cancelled() => until.is_some(),
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => true,
        }
    }

    /// Does one thing at most: sends one notice, or folds what waits.
    async fn turn(&mut self) -> Pause {
        let gone = self.shared.destinations.are_gone();
        self.lane.set_stopped(gone);
        self.shared.board.gone(gone);
        let before = self.spoiled;
        match self.try_turn().await {
            Ok(pause) => {
                if self.spoiled == before {
                    self.spoiled = 0;
                }
                self.unread = None;
                pause
            }
            Err(trouble) if trouble.is_final() => Pause::End,
            Err(trouble) => {
                self.spoil(&trouble);
                self.unread = Some(trouble.to_string());
                self.ledger_wait()
            }
        }
    }

    async fn try_turn(&mut self) -> Result<Pause, LedgerTrouble> {
        let settled = self.outbox.settle().await;
        self.tolerate(settled)?;
        let OutboxDepth { count, newest } = self.look().await?;
        let mut step = self.step(count, newest);
        if step == NextAction::Fold {
            // Whatever comes of it, count anew.
            self.waiting = None;
            let folded = self.outbox.fold().await;
            if self.tolerate(folded)? {
                return Ok(Pause::No);
            }
            // What cannot be folded goes out one by one; a refusal then waits its five minutes.
            step = self.step(1, Some(Position::default()));
        }
        match step {
            NextAction::Send => self.send().await,
            NextAction::WaitUntil(uptime) => Ok(Pause::Until(self.shared.started + uptime)),
            NextAction::Stopped => Ok(Pause::Woken),
            NextAction::Idle | NextAction::Fold if self.outbox.is_settled() => Ok(Pause::End),
            NextAction::Idle | NextAction::Fold => Ok(self.ledger_wait()),
        }
    }

    fn step(&self, count: u64, newest: Option<Position>) -> NextAction {
        let most = u64::from(self.shared.means.max_pending);
        self.lane.next_action(count, newest, most, self.shared.started.elapsed())
    }

    /// What waits: as counted before, with what has come since.
    async fn look(&mut self) -> Result<OutboxDepth, LedgerTrouble> {
        if self.wake.has_changed().unwrap_or(false) {
            self.wake.mark_unchanged();
            self.moved = true;
        }
        let waiting = match self.waiting {
            Some(counted) if !self.moved => return Ok(counted),
            Some(counted) => self.outbox.come_since(counted).await?,
            None => self.outbox.waiting().await?,
        };
        self.moved = false;
        self.waiting = Some(waiting);
        Ok(waiting)
    }

    /// Sends the first notice. It is read anew for each try, so that nothing more is said of a store
    /// that has been removed meanwhile.
    async fn send(&mut self) -> Result<Pause, LedgerTrouble> {
        let Some(notice) = self.outbox.first().await? else {
            self.waiting = None;
            return Ok(Pause::No);
        };
        let position = notice.position;
        let Position { epoch, seq } = position;
        self.show(Pause::No);
        let span = info_span!("callback", store = %self.store, epoch = epoch.0, seq = seq.0);
        crash_point("send.before");
        let (reply, verdict) = self.post(&notice).instrument(span.clone()).await;
        crash_point("send.after");
        let shared = &self.shared;
        let before = self.lane.last_failure().map(|trouble| trouble.verdict);
        span.in_scope(|| shared.board.replied(self.store, before, &reply, verdict));
        let (uptime, roll) = (shared.started.elapsed(), shared.means.random.next_u64());
        self.lane.on_reply(position, reply, verdict, uptime, roll);
        if verdict.is_delivery() {
            self.waiting = self.waiting.and_then(|OutboxDepth { count, newest }| {
                // The last one is not believed without asking.
                (count > 1).then(|| OutboxDepth { count: count - 1, newest })
            });
            let told = self.outbox.acknowledge(position).await;
            crash_point("acknowledge.after");
            self.tolerate(told)?;
        }
        Ok(Pause::No)
    }

    /// Posts what is left of a notice's requests, up to the first that is not taken.
    async fn post(&mut self, notice: &Notice) -> (ReceiverReply, DeliveryOutcome) {
        let Means { node, format, .. } = &self.shared.means;
        if self.taken.0 != notice.position {
            self.taken = (notice.position, 0);
        }
        let mut last = None;
        for event in WebhookEvent::from_notice(notice, *node, *format).iter().skip(self.taken.1) {
            let (reply, verdict, _) = self.shared.destinations.post(event).await;
            if !verdict.is_delivery() {
                return (reply, verdict);
            }
            self.taken.1 += 1;
            // Of two that are taken, the one nobody handles is worth showing.
            if !matches!(last, Some((_, DeliveryOutcome::NoHandler))) {
                last = Some((reply, verdict));
            }
        }
        last.unwrap_or_else(|| {
            // All were taken before, which only happens when there was nothing to post.
            (ReceiverReply::Unreached("nothing to post".to_owned()), DeliveryOutcome::Delivered)
        })
    }

    /// A ledger that cannot be told does not stop delivery; one that is closed does. Whether it went
    /// well.
    fn tolerate(&mut self, result: Result<(), LedgerTrouble>) -> Result<bool, LedgerTrouble> {
        match result {
            Ok(()) => Ok(true),
            Err(trouble) if trouble.is_final() => Err(trouble),
            Err(trouble) => {
                self.spoil(&trouble);
                Ok(false)
            }
        }
    }

    fn spoil(&mut self, trouble: &LedgerTrouble) {
        self.spoiled = self.spoiled.saturating_add(1);
        if self.spoiled == 1 {
            warn!(store = %self.store, %trouble, "the outbox cannot be read or told");
        } else {
            debug!(store = %self.store, %trouble, "the outbox cannot be read or told");
        }
    }

    fn ledger_wait(&self) -> Pause {
        let wait = LEDGER_BACKOFF.delay(self.spoiled, self.shared.means.random.next_u64());
        Pause::Until(Instant::now() + wait)
    }

    /// Shows how the lane stands before it waits for the receiver or for its next turn.
    fn show(&self, pause: Pause) {
        let now = self.shared.means.clock.now();
        let in_ms = |until: Instant| {
            i64::try_from(until.saturating_duration_since(Instant::now()).as_millis())
                .unwrap_or(i64::MAX)
        };
        let next_try = match pause {
            Pause::Until(until) => Some(Timestamp(now.0.saturating_add(in_ms(until)))),
            Pause::No | Pause::Woken | Pause::End => None,
        };
        let waiting = self.waiting.map_or(0, |waiting| waiting.count);
        let trouble =
            self.lane.last_failure().filter(|trouble| !trouble.verdict.is_delivery()).cloned();
        let unread = self.unread.as_ref().map(|why| {
            let reply =
                ReceiverReply::Unreached(format!("not sent: the outbox cannot be read: {why}"));
            LastFailure { reply, verdict: DeliveryOutcome::Retry(Duration::ZERO) }
        });
        let trouble = unread.or(trouble);
        self.shared.board.show(self.store, LaneStatus { waiting, trouble, next_try });
    }
}
