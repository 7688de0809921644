//! One store's lane: reads the outbox, sends, acknowledges, and waits as `delivery` says.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info_span, warn};

use super::context::NotifierContext;
use super::endpoints::CallbackEndpoints;
use super::outbox_reader::{OutboxError, OutboxReader};
use super::status::{DeliveryStatus, StatusPublisher};
use crate::common::crash_point;
use crate::common::{Backoff, Timestamp};
use crate::delivery::{DeliveryOutcome, DeliveryState, LastFailure, NextAction, ReceiverReply};
use crate::ledger::OutboxDepth;
use crate::model::{Notice, Position, StoreUuid};
use crate::wire::WebhookEvent;

/// Between tries while the ledger cannot be read or told.
const LEDGER_RETRY_BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(200), Duration::from_secs(60));

/// What all lanes work with.
pub(super) struct DeliveryShared {
    pub(super) means: NotifierContext,
    pub(super) board: StatusPublisher,
    /// Turns that may be taken at once.
    pub(super) permits: Semaphore,
    pub(super) destinations: Arc<CallbackEndpoints>,
    pub(super) stop: CancellationToken,
    /// From here on uptime is counted.
    pub(super) started: Instant,
}

/// A lane has ended, because nothing was left to send or with the notifier.
pub(super) struct FinishedDelivery {
    pub(super) store: StoreUuid,
    /// Changed, when the outbox moved after the lane looked last.
    pub(super) wake: watch::Receiver<()>,
}

/// What a lane does between two turns.
#[derive(Clone, Copy)]
enum NextTurn {
    /// Nothing.
    No,
    Until(Instant),
    /// Waits to be woken.
    Woken,
    /// Ends.
    End,
}

/// One store's lane.
pub(super) struct StoreDelivery {
    store: StoreUuid,
    shared: Arc<DeliveryShared>,
    wake: watch::Receiver<()>,
    lane: DeliveryState,
    outbox: OutboxReader,
    /// What waits; none when it must be asked for.
    waiting: Option<OutboxDepth>,
    /// Whether something may have come since.
    moved: bool,
    /// How many requests of the first notice have been taken.
    parts_sent: (Position, usize),
    /// Turns in a row that the ledger spoiled.
    ledger_failures: u32,
    /// Why the first notice cannot be read.
    unread: Option<String>,
}

impl StoreDelivery {
    pub(super) fn new(
        store: StoreUuid,
        shared: Arc<DeliveryShared>,
        wake: watch::Receiver<()>,
        lane: DeliveryState,
    ) -> Self {
        let outbox = OutboxReader::new(shared.means.ledger.clone(), store);
        let taken = (Position::default(), 0);
        Self {
            store,
            shared,
            wake,
            lane,
            outbox,
            waiting: None,
            moved: false,
            parts_sent: taken,
            ledger_failures: 0,
            unread: None,
        }
    }

    /// Runs until nothing is left. At the stop the request in flight is the last one; without one, what
    /// waits for its time is due now, once.
    pub(super) async fn run_delivery(mut self) -> FinishedDelivery {
        let shared = Arc::clone(&self.shared);
        // The semaphore is never closed; if it were, ending is right.
        while let Ok(turn) = shared.permits.acquire().await {
            let last = shared.stop.is_cancelled();
            if last {
                self.lane.make_due();
            }
            let pause = self.deliver_next().await;
            drop(turn);
            self.publish_status(pause);
            if last || !self.wait_for_change(pause).await {
                break;
            }
        }
        shared.board.clear_store(self.store);
        FinishedDelivery { store: self.store, wake: self.wake }
    }

    /// Waits for the next turn, which the stop brings forward; false when there is none.
    async fn wait_for_change(&mut self, pause: NextTurn) -> bool {
        let until = match pause {
            NextTurn::No => return !self.shared.stop.is_cancelled(),
            NextTurn::End => return false,
            NextTurn::Until(until) => Some(until),
            NextTurn::Woken => None,
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
    async fn deliver_next(&mut self) -> NextTurn {
        let gone = self.shared.destinations.all_gone();
        self.lane.set_stopped(gone);
        self.shared.board.mark_gone(gone);
        let before = self.ledger_failures;
        match self.try_turn().await {
            Ok(pause) => {
                if self.ledger_failures == before {
                    self.ledger_failures = 0;
                }
                self.unread = None;
                pause
            }
            Err(trouble) if trouble.is_final() => NextTurn::End,
            Err(trouble) => {
                self.on_ledger_failure(&trouble);
                self.unread = Some(trouble.to_string());
                self.ledger_wait()
            }
        }
    }

    async fn try_turn(&mut self) -> Result<NextTurn, OutboxError> {
        let settled = self.outbox.flush_acknowledgements().await;
        self.ignore_transient(settled)?;
        let OutboxDepth { count, newest } = self.refresh_depth().await?;
        let mut step = self.apply_action(count, newest);
        if step == NextAction::Fold {
            // Whatever comes of it, count anew.
            self.waiting = None;
            let folded = self.outbox.coalesce_notices().await;
            if self.ignore_transient(folded)? {
                return Ok(NextTurn::No);
            }
            // What cannot be folded goes out one by one; a refusal then waits its five minutes.
            step = self.apply_action(1, Some(Position::default()));
        }
        match step {
            NextAction::Send => self.send_notice().await,
            NextAction::WaitUntil(uptime) => Ok(NextTurn::Until(self.shared.started + uptime)),
            NextAction::Stopped => Ok(NextTurn::Woken),
            NextAction::Idle | NextAction::Fold if self.outbox.is_settled() => Ok(NextTurn::End),
            NextAction::Idle | NextAction::Fold => Ok(self.ledger_wait()),
        }
    }

    fn apply_action(&self, count: u64, newest: Option<Position>) -> NextAction {
        let most = u64::from(self.shared.means.max_pending);
        self.lane.next_action(count, newest, most, self.shared.started.elapsed())
    }

    /// What waits: as counted before, with what has come since.
    async fn refresh_depth(&mut self) -> Result<OutboxDepth, OutboxError> {
        if self.wake.has_changed().unwrap_or(false) {
            self.wake.mark_unchanged();
            self.moved = true;
        }
        let waiting = match self.waiting {
            Some(counted) if !self.moved => return Ok(counted),
            Some(counted) => self.outbox.depth_since(counted).await?,
            None => self.outbox.outbox_depth().await?,
        };
        self.moved = false;
        self.waiting = Some(waiting);
        Ok(waiting)
    }

    /// Sends the first notice. It is read anew for each try, so that nothing more is said of a store
    /// that has been removed meanwhile.
    async fn send_notice(&mut self) -> Result<NextTurn, OutboxError> {
        let Some(notice) = self.outbox.first_notice().await? else {
            self.waiting = None;
            return Ok(NextTurn::No);
        };
        let position = notice.position;
        let Position { epoch, seq } = position;
        self.publish_status(NextTurn::No);
        let span = info_span!("callback", store = %self.store, epoch = epoch.0, seq = seq.0);
        crash_point("send.before");
        let (reply, verdict) = self.post_event(&notice).instrument(span.clone()).await;
        crash_point("send.after");
        let shared = &self.shared;
        let before = self.lane.last_failure().map(|trouble| trouble.verdict);
        span.in_scope(|| shared.board.record_response(self.store, before, &reply, verdict));
        let (uptime, roll) = (shared.started.elapsed(), shared.means.random.next_u64());
        self.lane.on_reply(position, reply, verdict, uptime, roll);
        if verdict.is_delivery() {
            self.waiting = self.waiting.and_then(|OutboxDepth { count, newest }| {
                // The last one is not believed without asking.
                (count > 1).then(|| OutboxDepth { count: count - 1, newest })
            });
            let told = self.outbox.acknowledge_notice(position).await;
            crash_point("acknowledge.after");
            self.ignore_transient(told)?;
        }
        Ok(NextTurn::No)
    }

    /// Posts what is left of a notice's requests, up to the first that is not taken.
    async fn post_event(&mut self, notice: &Notice) -> (ReceiverReply, DeliveryOutcome) {
        let NotifierContext { node, format, .. } = &self.shared.means;
        if self.parts_sent.0 != notice.position {
            self.parts_sent = (notice.position, 0);
        }
        let mut last = None;
        for event in
            WebhookEvent::from_notice(notice, *node, *format).iter().skip(self.parts_sent.1)
        {
            let (reply, verdict, _) = self.shared.destinations.post_event(event).await;
            if !verdict.is_delivery() {
                return (reply, verdict);
            }
            self.parts_sent.1 += 1;
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
    fn ignore_transient(&mut self, result: Result<(), OutboxError>) -> Result<bool, OutboxError> {
        match result {
            Ok(()) => Ok(true),
            Err(trouble) if trouble.is_final() => Err(trouble),
            Err(trouble) => {
                self.on_ledger_failure(&trouble);
                Ok(false)
            }
        }
    }

    fn on_ledger_failure(&mut self, trouble: &OutboxError) {
        self.ledger_failures = self.ledger_failures.saturating_add(1);
        if self.ledger_failures == 1 {
            warn!(store = %self.store, %trouble, "the outbox cannot be read or told");
        } else {
            debug!(store = %self.store, %trouble, "the outbox cannot be read or told");
        }
    }

    fn ledger_wait(&self) -> NextTurn {
        let wait =
            LEDGER_RETRY_BACKOFF.delay(self.ledger_failures, self.shared.means.random.next_u64());
        NextTurn::Until(Instant::now() + wait)
    }

    /// Shows how the lane stands before it waits for the receiver or for its next turn.
    fn publish_status(&self, pause: NextTurn) {
        let now = self.shared.means.clock.now();
        let in_ms = |until: Instant| {
            i64::try_from(until.saturating_duration_since(Instant::now()).as_millis())
                .unwrap_or(i64::MAX)
        };
        let next_try = match pause {
            NextTurn::Until(until) => Some(Timestamp(now.0.saturating_add(in_ms(until)))),
            NextTurn::No | NextTurn::Woken | NextTurn::End => None,
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
        self.shared.board.publish(self.store, DeliveryStatus { waiting, trouble, next_try });
    }
}
