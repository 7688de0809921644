//! The heartbeat: how all stores are, told in the callback's interval, and what its answer asks for sent
//! right after it.
//!
//! It never queues anything: a heartbeat that is not taken is over, for the next one says more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::NotifierHandle;
use crate::agent::{
    DaemonConditions, Registry, SharedFilesystems, StoreService as _, StoreSnapshot,
    active_conditions,
};
use crate::common::{Clock, Random};
use crate::delivery::ReceiverReply;
use crate::model::{NodeId, Notice, NoticeKind, Tags};
use crate::wire::{EventFormat, StoreHeartbeat, WebhookEvent, resync_asked};

/// The task that tells how all stores are.
pub struct HeartbeatTask {
    /// This node, as the source of events.
    pub node: NodeId,
    /// Between two heartbeats, give or take a tenth.
    pub every: Duration,
    /// The first one comes at random within this time.
    pub start_spread: Duration,
    /// All stores.
    pub stores: Registry,
    /// The conditions that come from the daemon.
    pub daemon_conditions: DaemonConditions,
    /// Knows the way to the receiver.
    pub notifier: NotifierHandle,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
}

impl HeartbeatTask {
    /// Runs until the token is cancelled.
    ///
    /// # Cancel safety
    /// Dropping the future ends it; nothing is lost by that.
    pub async fn run_heartbeat(self, stop: CancellationToken) {
        let beating = async {
            let mut pause = self.random_fraction(self.start_spread);
            let (mut number, mut heard) = (0, true);
            loop {
                sleep(pause).await;
                // Until a person acts.
                if !self.notifier.endpoint_count().all_gone() {
                    number += 1;
                    let (taken, reply) = self.send_heartbeat(number).await;
                    match (heard, taken) {
                        (true, false) => warn!(%reply, "the callback does not take heartbeats"),
                        (false, true) => info!("the callback takes heartbeats again"),
                        _ => {}
                    }
                    heard = taken;
                }
                // So that thousands of nodes that started at once do not stay in step.
                pause = self.every.mul_f64(0.9) + self.random_fraction(self.every.mul_f64(0.2));
            }
        };
        stop.run_until_cancelled(beating).await;
    }

    /// Whether it was taken, and the last reply.
    async fn send_heartbeat(&self, number: u64) -> (bool, ReceiverReply) {
        let views = self.stores.snapshots();
        let pulses = self.snapshots(&views);
        let event = WebhookEvent::new_heartbeat(self.node, self.clock.now(), number, &pulses);
        let (reply, verdict, answer) = self.notifier.endpoint_count().post_event(&event).await;
        debug!(%reply, stores = pulses.len(), "heartbeat");
        if verdict.is_delivery() {
            let asked = resync_asked(&answer);
            for view in asked.iter().filter_map(|uuid| self.stores.snapshot(*uuid)) {
                // What is not taken now is asked for again by the answer to the next one.
                if !self.request_resync(&view).await {
                    break;
                }
            }
        }
        (verdict.is_delivery(), reply)
    }

    /// Sends a store's current state, with the place of its newest transition and no new one; whether it was
    /// taken.
    async fn request_resync(&self, view: &StoreSnapshot) -> bool {
        let standing = &view.standing;
        let notice = Notice {
            store: view.store.uuid,
            kind: NoticeKind::Resync,
            position: standing.position,
            old_status: standing.status,
            new_status: standing.status,
            at: self.clock.now(),
            attempt: standing.attempt,
            failure: standing.failure.clone(),
            inventory: view.inventory.clone(),
            tags: Tags::default(),
            folded: 1,
        };
        let mut taken = true;
        for event in WebhookEvent::from_notice(&notice, self.node, EventFormat::CloudEvents) {
            let (reply, verdict, _) = self.notifier.endpoint_count().post_event(&event).await;
            taken &= verdict.is_delivery();
            info!(store = %notice.store, %reply, "the receiver asked for the current state");
        }
        taken
    }

    fn snapshots(&self, views: &[Arc<StoreSnapshot>]) -> Vec<StoreHeartbeat> {
        let shared = SharedFilesystems::new(views);
        let pulse = |view: &Arc<StoreSnapshot>| {
            let active = active_conditions(view, &shared, &self.daemon_conditions);
            StoreHeartbeat {
                store: view.store.uuid,
                status: view.standing.status,
                position: view.standing.position,
                capacity: view.standing.capacity,
                conditions: active.into_iter().map(|active| active.condition).collect(),
            }
        };
        views.iter().map(pulse).collect()
    }

    /// A random part of a time.
    fn random_fraction(&self, whole: Duration) -> Duration {
        crate::common::Backoff::new(whole, whole).delay(1, self.random.next_u64())
    }
}
