//! The delivery task of one store. It reads the outbox, sends and acknowledges notices, and waits
//! as `delivery` decides.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info_span, warn};

use super::NotifierContext;
use super::endpoints::CallbackEndpoints;
use super::outbox_reader::{OutboxError, OutboxReader};
use super::status::{DeliveryStatus, StatusPublisher};
use crate::common::crash_point;
use crate::common::{Backoff, Timestamp};
use crate::delivery::{DeliveryOutcome, DeliveryState, LastFailure, NextAction, ReceiverReply};
use crate::ledger::OutboxDepth;
use crate::model::{Notice, Position, StoreUuid};
use crate::wire::WebhookEvent;

/// Backoff between retries while the ledger cannot be read or written. The limit of the random
/// delay grows from 200 ms to 60 s.
const LEDGER_RETRY_BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(200), Duration::from_secs(60));

/// The state that all store deliveries share.
pub(super) struct DeliveryShared {
    pub(super) means: NotifierContext,
    pub(super) board: StatusPublisher,
    /// Limits the number of deliveries that work at once.
    pub(super) permits: Semaphore,
    pub(super) destinations: Arc<CallbackEndpoints>,
    pub(super) stop: CancellationToken,
    /// The origin of uptimes.
    pub(super) started: Instant,
}

/// A delivery task that ended, because no notice was left or the notifier stopped.
pub(super) struct FinishedDelivery {
    pub(super) store: StoreUuid,
    /// It is marked as changed if the outbox changed after the last read of the task.
    pub(super) wake: watch::Receiver<()>,
}

/// The action of a delivery task between two steps.
#[derive(Clone, Copy)]
enum NextTurn {
    /// Continue without a pause.
    No,
    Until(Instant),
    /// Wait until the outbox changes.
    Woken,
    /// End the task.
    End,
}

/// The delivery task of one store.
pub(super) struct StoreDelivery {
    store: StoreUuid,
    shared: Arc<DeliveryShared>,
    wake: watch::Receiver<()>,
    lane: DeliveryState,
    outbox: OutboxReader,
    /// The depth of the outbox, or `None` if it must be read.
    waiting: Option<OutboxDepth>,
    /// True if notices may have been added since `waiting` was read.
    moved: bool,
    /// The position of the first notice, and the number of its requests that were delivered.
    parts_sent: (Position, usize),
    /// Number of consecutive steps in which the ledger failed.
    ledger_failures: u32,
    /// The reason why the outbox cannot be read.
    unread: Option<String>,
}

impl StoreDelivery {
    pub(super) fn new(
        store: StoreUuid,
        shared: Arc<DeliveryShared>,
        wake: watch::Receiver<()>,
        lane: DeliveryState,
    ) -> Self {
        let outbox = OutboxReader::new(shared.means.daemon.ledger.clone(), store);
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

    /// Runs until no notice is left. At the stop a request in flight is the last one. If there is
    /// none, a delayed notice is due at once for one request.
    pub(super) async fn run_delivery(mut self) -> FinishedDelivery {
        let shared = Arc::clone(&self.shared);
        // The semaphore is never closed. If it were, ending the task would be correct.
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

    /// Waits for the next step, which a stop makes due at once. Returns false if there is none.
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

    /// Performs at most one action: sends one notice, or coalesces the pending ones.
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
        if step == NextAction::Coalesce {
            // The depth changes even if coalescing fails, so it must be read again.
            self.waiting = None;
            let folded = self.outbox.coalesce_notices().await;
            if self.ignore_transient(folded)? {
                return Ok(NextTurn::No);
            }
            // Notices that cannot be coalesced are sent one by one. A rejected one is then delayed
            // by 5 min.
            step = self.apply_action(1, Some(Position::default()));
        }
        match step {
            NextAction::Send => self.send_notice().await,
            NextAction::WaitUntil(uptime) => Ok(NextTurn::Until(self.shared.started + uptime)),
            NextAction::Stopped => Ok(NextTurn::Woken),
            NextAction::Idle | NextAction::Coalesce if self.outbox.is_settled() => {
                Ok(NextTurn::End)
            }
            NextAction::Idle | NextAction::Coalesce => Ok(self.ledger_wait()),
        }
    }

    fn apply_action(&self, count: u64, newest: Option<Position>) -> NextAction {
        let most = u64::from(self.shared.means.max_pending);
        self.lane.next_action(count, newest, most, self.shared.started.elapsed())
    }

    /// Returns the depth of the outbox: the earlier count plus the notices that were added since.
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

    /// Sends the first notice. Each try reads it again, so that no notice of a removed store is
    /// sent.
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
        let before = self.lane.last_failure().map(|trouble| trouble.outcome);
        span.in_scope(|| shared.board.record_response(self.store, before, &reply, verdict));
        let (uptime, roll) = (shared.started.elapsed(), shared.means.daemon.random.next_u64());
        self.lane.on_reply(position, reply, verdict, uptime, roll);
        if verdict.is_delivery() {
            self.waiting = self.waiting.and_then(|OutboxDepth { count, newest }| {
                // The depth is read again after the last counted notice, because the count may be
                // outdated.
                (count > 1).then(|| OutboxDepth { count: count - 1, newest })
            });
            let told = self.outbox.acknowledge_notice(position).await;
            crash_point("acknowledge.after");
            self.ignore_transient(told)?;
        }
        Ok(NextTurn::No)
    }

    /// Posts the remaining requests of a notice, up to the first that is not delivered.
    async fn post_event(&mut self, notice: &Notice) -> (ReceiverReply, DeliveryOutcome) {
        let NotifierContext { daemon, format, .. } = &self.shared.means;
        let node = daemon.node;
        if self.parts_sent.0 != notice.position {
            self.parts_sent = (notice.position, 0);
        }
        let mut last = None;
        for event in WebhookEvent::from_notice(notice, node, *format).iter().skip(self.parts_sent.1)
        {
            let (reply, verdict, _) = self.shared.destinations.post_event(event).await;
            if !verdict.is_delivery() {
                return (reply, verdict);
            }
            self.parts_sent.1 += 1;
            // If several requests are delivered, a reply without a handler is the one to report.
            if !matches!(last, Some((_, DeliveryOutcome::NoHandler))) {
                last = Some((reply, verdict));
            }
        }
        last.unwrap_or_else(|| {
            // Nothing was posted, because all requests were delivered before.
            (ReceiverReply::NoResponse("nothing to post".to_owned()), DeliveryOutcome::Delivered)
        })
    }

    /// Logs a failure of the ledger and returns false; only a closed ledger is an error. Returns
    /// true on success. A failed commit therefore does not stop delivery.
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
            warn!(store = %self.store, %trouble, "outbox read or acknowledgement failed");
        } else {
            debug!(store = %self.store, %trouble, "outbox read or acknowledgement failed");
        }
    }

    fn ledger_wait(&self) -> NextTurn {
        let wait = LEDGER_RETRY_BACKOFF
            .delay(self.ledger_failures, self.shared.means.daemon.random.next_u64());
        NextTurn::Until(Instant::now() + wait)
    }

    /// Publishes the status of the delivery before it waits for the receiver or for the next step.
    fn publish_status(&self, pause: NextTurn) {
        let now = self.shared.means.daemon.clock.now();
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
            self.lane.last_failure().filter(|trouble| !trouble.outcome.is_delivery()).cloned();
        let unread = self.unread.as_ref().map(|why| {
            let reply = ReceiverReply::NoResponse(format!("not sent: outbox read failed: {why}"));
            LastFailure { reply, outcome: DeliveryOutcome::Retry(Duration::ZERO) }
        });
        let trouble = unread.or(trouble);
        self.shared.board.publish(self.store, DeliveryStatus { waiting, trouble, next_try });
    }
}
