//! The delivery task of one store. It reads the outbox, sends and acknowledges notices, and waits
//! as `delivery` decides.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info_span, warn};

use super::endpoints::CallbackEndpoints;
use super::outbox_reader::{OutboxError, OutboxReader};
use super::status::{DeliveryUpdate, StatusPublisher};
use super::{DeliveryStats, NotifierContext};
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
    pub(super) context: NotifierContext,
    pub(super) status: StatusPublisher,
    pub(super) stats: Arc<DeliveryStats>,
    /// Limits the number of deliveries that work at once.
    pub(super) permits: Semaphore,
    pub(super) endpoints: Arc<CallbackEndpoints>,
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

/// The time of the next step of a delivery task.
#[derive(Clone, Copy)]
enum NextStep {
    Immediate,
    /// At this time, or earlier if the outbox changes.
    At(Instant),
    /// When the outbox changes.
    OnChange,
    /// Never: the task ends.
    End,
}

/// The delivery task of one store.
pub(super) struct StoreDelivery {
    store: StoreUuid,
    shared: Arc<DeliveryShared>,
    wake: watch::Receiver<()>,
    state: DeliveryState,
    outbox: OutboxReader,
    /// The depth of the outbox, or `None` if it must be read.
    depth: Option<OutboxDepth>,
    /// The number of pending notices, or `None` if it is not known. Other than `depth`, it remains
    /// until the next read.
    counted: Option<u64>,
    /// True if notices may have been added since `depth` was read.
    depth_outdated: bool,
    /// The position of the first notice, and the number of its requests that were delivered.
    parts_sent: (Position, usize),
    /// Number of consecutive steps in which the ledger failed.
    ledger_failures: u32,
    /// The error of the last read of the outbox, or `None` if it succeeded.
    read_error: Option<String>,
    /// The time of the oldest pending notice. A notice that was coalesced has a later one.
    oldest: Option<Timestamp>,
}

impl StoreDelivery {
    pub(super) fn new(
        store: StoreUuid,
        shared: Arc<DeliveryShared>,
        wake: watch::Receiver<()>,
        state: DeliveryState,
    ) -> Self {
        let ledger = shared.context.daemon.ledger.clone();
        let outbox = OutboxReader::new(ledger, store, Arc::clone(&shared.stats));
        Self {
            store,
            shared,
            wake,
            state,
            outbox,
            depth: None,
            counted: None,
            depth_outdated: false,
            parts_sent: (Position::default(), 0),
            ledger_failures: 0,
            read_error: None,
            oldest: None,
        }
    }

    /// Runs until no notice is left. At the stop a request in flight is the last one. If there is
    /// none, a delayed notice is due at once for one request.
    pub(super) async fn run_delivery(mut self) -> FinishedDelivery {
        let shared = Arc::clone(&self.shared);
        // The semaphore is never closed. If it were, ending the task would be correct.
        while let Ok(permit) = shared.permits.acquire().await {
            let last = shared.stop.is_cancelled();
            if last {
                self.state.make_due();
            }
            let next_step = self.deliver_next().await;
            drop(permit);
            self.publish_status(next_step);
            if last || !self.wait_for_change(next_step).await {
                break;
            }
        }
        shared.status.clear_delivered(self.store);
        FinishedDelivery { store: self.store, wake: self.wake }
    }

    /// Waits for the next step, which a stop makes due at once. Returns false if there is none.
    async fn wait_for_change(&mut self, next_step: NextStep) -> bool {
        let until = match next_step {
            NextStep::Immediate => return !self.shared.stop.is_cancelled(),
            NextStep::End => return false,
            NextStep::At(until) => Some(until),
            NextStep::OnChange => None,
        };
        tokio::select! {
            biased;
            woken = self.wake.changed() => {
                self.depth_outdated = true;
                woken.is_ok()
            }
            () = self.shared.stop.cancelled() => until.is_some(),
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => true,
        }
    }

    /// Performs one step, and handles a failure of the ledger.
    async fn deliver_next(&mut self) -> NextStep {
        let gone = self.shared.endpoints.all_gone();
        self.state.set_stopped(gone);
        self.shared.status.mark_gone(gone);
        let before = self.ledger_failures;
        match self.try_step().await {
            Ok(next_step) => {
                if self.ledger_failures == before {
                    self.ledger_failures = 0;
                }
                self.read_error = None;
                next_step
            }
            Err(error) if error.is_final() => NextStep::End,
            Err(error) => {
                self.on_ledger_failure(&error);
                self.read_error = Some(error.to_string());
                self.next_ledger_retry()
            }
        }
    }

    /// Performs at most one action: sends one notice, or coalesces the pending ones.
    async fn try_step(&mut self) -> Result<NextStep, OutboxError> {
        let flushed = self.outbox.flush_acknowledgements().await;
        self.ignore_transient(flushed)?;
        let OutboxDepth { count, newest } = self.refresh_depth().await?;
        let mut action = self.next_action(count, newest);
        if action == NextAction::Coalesce {
            // The depth changes even if coalescing fails, so it must be read again.
            self.depth = None;
            let coalesced = self.outbox.coalesce_notices().await;
            if self.ignore_transient(coalesced)? {
                return Ok(NextStep::Immediate);
            }
            // Notices that cannot be coalesced are sent one by one. A rejected one is then delayed
            // by 5 min.
            action = self.next_action(1, Some(Position::default()));
        }
        match action {
            NextAction::Send => self.send_notice().await,
            NextAction::WaitUntil(uptime) => Ok(NextStep::At(self.shared.started + uptime)),
            NextAction::Stopped => Ok(NextStep::OnChange),
            NextAction::Idle | NextAction::Coalesce if self.outbox.is_settled() => {
                Ok(NextStep::End)
            }
            NextAction::Idle | NextAction::Coalesce => Ok(self.next_ledger_retry()),
        }
    }

    fn next_action(&self, count: u64, newest: Option<Position>) -> NextAction {
        let max_pending = u64::from(self.shared.context.max_pending);
        self.state.next_action(count, newest, max_pending, self.shared.started.elapsed())
    }

    /// Returns the depth of the outbox: the earlier count plus the notices that were added since.
    async fn refresh_depth(&mut self) -> Result<OutboxDepth, OutboxError> {
        if self.wake.has_changed().unwrap_or(false) {
            self.wake.mark_unchanged();
            self.depth_outdated = true;
        }
        if let Some(earlier) = self.depth.filter(|_| !self.depth_outdated) {
            return Ok(earlier);
        }
        self.counted = None;
        self.shared.status.begin_count(self.store);
        let depth = match self.depth {
            Some(earlier) => self.outbox.depth_since(earlier).await?,
            None => self.outbox.outbox_depth().await?,
        };
        self.depth_outdated = false;
        self.depth = Some(depth);
        self.counted = Some(depth.count);
        Ok(depth)
    }

    /// Sends the first notice. Each try reads it again, so that no notice of a removed store is
    /// sent.
    async fn send_notice(&mut self) -> Result<NextStep, OutboxError> {
        let Some(notice) = self.outbox.first_notice().await? else {
            self.depth = None;
            return Ok(NextStep::Immediate);
        };
        let position = notice.position;
        self.oldest = self.oldest.or(Some(notice.at));
        let Position { epoch, seq } = position;
        self.publish_status(NextStep::Immediate);
        let span = info_span!("callback", store = %self.store, epoch = epoch.0, seq = seq.0);
        crash_point("send.before");
        let (reply, outcome) = self.post_event(&notice).instrument(span.clone()).await;
        crash_point("send.after");
        let shared = &self.shared;
        let last_outcome = self.state.last_failure().map(|failure| failure.outcome);
        span.in_scope(|| shared.status.record_response(self.store, last_outcome, &reply, outcome));
        let (uptime, random) = (shared.started.elapsed(), shared.context.daemon.random.next_u64());
        self.state.on_reply(position, reply, outcome, uptime, random);
        if outcome.is_delivery() {
            self.oldest = None;
            self.counted = self.counted.map(|counted| counted.saturating_sub(1));
            self.depth = self.depth.and_then(|OutboxDepth { count, newest }| {
                // The depth is read again after the last counted notice, because the count may be
                // outdated.
                (count > 1).then(|| OutboxDepth { count: count - 1, newest })
            });
            let acknowledged = self.outbox.acknowledge_notice(position).await;
            crash_point("acknowledge.after");
            self.ignore_transient(acknowledged)?;
        }
        Ok(NextStep::Immediate)
    }

    /// Posts the remaining requests of a notice, up to the first that is not delivered.
    async fn post_event(&mut self, notice: &Notice) -> (ReceiverReply, DeliveryOutcome) {
        let NotifierContext { daemon, format, language, .. } = &self.shared.context;
        let node = daemon.node;
        if self.parts_sent.0 != notice.position {
            self.parts_sent = (notice.position, 0);
        }
        let mut last = None;
        for event in WebhookEvent::from_notice(notice, node, *format, *language)
            .iter()
            .skip(self.parts_sent.1)
        {
            let stats = Some(self.shared.stats.as_ref());
            let (reply, outcome, _) = self.shared.endpoints.post_event(event, stats).await;
            if !outcome.is_delivery() {
                return (reply, outcome);
            }
            self.parts_sent.1 += 1;
            // If several requests are delivered, a reply without a handler is the one to report.
            if !matches!(last, Some((_, DeliveryOutcome::NoHandler))) {
                last = Some((reply, outcome));
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
            Err(error) if error.is_final() => Err(error),
            Err(error) => {
                self.on_ledger_failure(&error);
                Ok(false)
            }
        }
    }

    fn on_ledger_failure(&mut self, error: &OutboxError) {
        self.ledger_failures = self.ledger_failures.saturating_add(1);
        if self.ledger_failures == 1 {
            warn!(store = %self.store, %error, "outbox read or acknowledgement failed");
        } else {
            debug!(store = %self.store, %error, "outbox read or acknowledgement failed");
        }
    }

    fn next_ledger_retry(&self) -> NextStep {
        let wait = LEDGER_RETRY_BACKOFF
            .delay(self.ledger_failures, self.shared.context.daemon.random.next_u64());
        NextStep::At(Instant::now() + wait)
    }

    /// Publishes the status of the delivery before it waits for the receiver or for the next step.
    fn publish_status(&self, next_step: NextStep) {
        let now = self.shared.context.daemon.clock.now();
        let in_ms = |until: Instant| {
            i64::try_from(until.saturating_duration_since(Instant::now()).as_millis())
                .unwrap_or(i64::MAX)
        };
        let next_try = match next_step {
            NextStep::At(until) => Some(Timestamp(now.0.saturating_add(in_ms(until)))),
            NextStep::Immediate | NextStep::OnChange | NextStep::End => None,
        };
        let last_failure =
            self.state.last_failure().filter(|failure| !failure.outcome.is_delivery()).cloned();
        let read_failure = self.read_error.as_ref().map(|why| {
            let reply = ReceiverReply::NoResponse(format!("not sent: outbox read failed: {why}"));
            LastFailure { reply, outcome: DeliveryOutcome::Retry(Duration::ZERO) }
        });
        let last_failure = read_failure.or(last_failure);
        let (counted, oldest) = (self.counted, self.oldest.filter(|_| self.counted != Some(0)));
        let update = DeliveryUpdate { counted, oldest, last_failure, next_try };
        self.shared.status.publish(self.store, update);
    }
}
