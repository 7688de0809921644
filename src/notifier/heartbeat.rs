//! The heartbeat. It reports the state of all stores at the configured interval. A reply may
//! request a resync, and the current state of the stores that it names is sent immediately.
//!
//! A heartbeat is never queued or retried, because the next one contains newer state.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::NotifierHandle;
use crate::agent::{
    DaemonConditions, DaemonContext, Registry, StoreService as _, StoreSnapshot, active_conditions,
};
use crate::catalog::Language;
use crate::common::for_each_fairly;
use crate::delivery::{DeliveryOutcome, ReceiverReply};
use crate::model::{Notice, NoticeKind, Tags};
use crate::wire::{
    EventFormat, HeartbeatWriter, StoreHeartbeat, WebhookEvent, parse_resync_request,
};

/// The task that sends heartbeats.
pub struct HeartbeatTask {
    /// The dependencies that the agent and the notifier have as well.
    pub daemon: Arc<DaemonContext>,
    /// Interval between two heartbeats. Each one varies at random by 10 % in both directions.
    pub interval: Duration,
    /// The first heartbeat is sent at a random time within this period.
    pub start_spread: Duration,
    /// All stores.
    pub stores: Registry,
    /// The conditions that come from the daemon.
    pub daemon_conditions: DaemonConditions,
    /// Gives access to the receivers.
    pub notifier: NotifierHandle,
    /// The language of the errors in events.
    pub language: Language,
}

impl HeartbeatTask {
    /// Runs until the token is cancelled.
    ///
    /// # Cancel safety
    /// Dropping the future ends the heartbeat. Nothing is lost.
    pub async fn run_heartbeat(self, stop: CancellationToken) {
        let send_heartbeats = async {
            let mut delay = self.random_fraction(self.start_spread);
            let (mut number, mut was_delivered) = (0, true);
            loop {
                sleep(delay).await;
                let mut min_delay = Duration::ZERO;
                // Receivers that are gone stay so until an operator acts.
                if !self.notifier.callback_endpoints().all_gone() {
                    number += 1;
                    let (outcome, reply) = self.send_heartbeat(number).await;
                    let delivered = outcome.is_delivery();
                    if let DeliveryOutcome::Retry(requested) = outcome {
                        min_delay = requested;
                    }
                    match (was_delivered, delivered) {
                        (true, false) => warn!(%reply, "heartbeat delivery failing"),
                        (false, true) => info!("heartbeat delivery recovered"),
                        _ => {}
                    }
                    was_delivered = delivered;
                }
                // The jitter prevents nodes that started together from sending in step.
                delay =
                    self.interval.mul_f64(0.9) + self.random_fraction(self.interval.mul_f64(0.2));
                delay = delay.max(min_delay);
            }
        };
        stop.run_until_cancelled(send_heartbeats).await;
    }

    /// Sends one heartbeat. Returns the meaning of the last reply, and that reply.
    async fn send_heartbeat(&self, number: u64) -> (DeliveryOutcome, ReceiverReply) {
        let snapshots = self.stores.snapshots();
        let event = self.new_heartbeat(number, &snapshots).await;
        let (reply, outcome, body) =
            self.notifier.callback_endpoints().post_event(&event, None).await;
        debug!(%reply, stores = snapshots.len(), "heartbeat sent");
        if outcome.is_delivery() {
            let sending = async {
                for uuid in parse_resync_request(&body) {
                    if let Some(snapshot) = self.stores.snapshot(uuid)
                        && !self.send_resync(&snapshot).await
                    {
                        break;
                    }
                }
            };
            // The reply to a later heartbeat requests again what is not delivered now. Heartbeats
            // of a daemon with many stores must not seem to have ended.
            if timeout(self.interval / 2, sending).await.is_err() {
                info!("resyncs cut off");
            }
        }
        (outcome, reply)
    }

    /// Sends the current state of a store with the position of its newest transition. This creates
    /// no new position. Returns true if the receiver took it.
    async fn send_resync(&self, snapshot: &StoreSnapshot) -> bool {
        let durable = &snapshot.durable;
        let notice = Notice {
            store: snapshot.store.uuid,
            kind: NoticeKind::Resync,
            position: durable.position,
            old_status: durable.status,
            new_status: durable.status,
            at: self.daemon.clock.now(),
            attempt: durable.attempt,
            failure: durable.failure.clone(),
            inventory: snapshot.inventory.clone(),
            tags: Tags::default(),
            transition_count: 1,
        };
        let mut delivered = true;
        let node = self.daemon.node;
        for event in
            WebhookEvent::from_notice(&notice, node, EventFormat::CloudEvents, self.language)
        {
            let (reply, outcome, _) =
                self.notifier.callback_endpoints().post_event(&event, None).await;
            delivered &= outcome.is_delivery();
            info!(store = %notice.store, %reply, "resync sent");
        }
        delivered
    }

    async fn new_heartbeat(&self, number: u64, snapshots: &[Arc<StoreSnapshot>]) -> WebhookEvent {
        let (node, now) = (self.daemon.node, self.daemon.clock.now());
        let mut heartbeat = HeartbeatWriter::new(node, now, number);
        for_each_fairly(snapshots, |snapshot| {
            let sharers = self.stores.space_sharers(snapshot);
            let active = active_conditions(snapshot, &sharers, &self.daemon_conditions);
            heartbeat.push(&StoreHeartbeat {
                store: snapshot.store.uuid,
                state: snapshot.store.state,
                status: snapshot.durable.status,
                position: snapshot.durable.position,
                capacity: snapshot.durable.capacity,
                conditions: active.into_iter().map(|active| active.condition).collect(),
            });
        })
        .await;
        heartbeat.finish()
    }

    /// Returns a random part of a duration.
    fn random_fraction(&self, whole: Duration) -> Duration {
        crate::common::Backoff::new(whole, whole).delay(1, self.daemon.random.next_u64())
    }
}
