//! The receivers of `callback.urls`, which all store deliveries and the heartbeat share. A request
//! goes to the first receiver that is up, and fails over to the next one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::DeliveryStats;
use crate::agent::DaemonContext;
use crate::common::lock_unpoisoned;
use crate::delivery::{DeliveryOutcome, EndpointSelector, ReceiverReply, classify};
use crate::diagnosis::{CertificateFact, ReceiverFact};
use crate::management::CallbackClient;
use crate::wire::{EventFormat, WebhookEvent};

/// Posts events to the active receiver, with failover.
pub(super) struct CallbackEndpoints {
    client: CallbackClient,
    format: EventFormat,
    daemon: Arc<DaemonContext>,
    selector: Mutex<EndpointSelector>,
    /// The last reply of each receiver, with its time.
    replies: Mutex<BTreeMap<usize, String>>,
    started: Instant,
}

impl CallbackEndpoints {
    pub(super) fn new(
        client: CallbackClient,
        format: EventFormat,
        daemon: Arc<DaemonContext>,
    ) -> Self {
        let selector = Mutex::new(EndpointSelector::new(client.endpoint_count()));
        let (replies, started) = (Mutex::default(), Instant::now());
        Self { client, format, daemon, selector, replies, started }
    }

    /// Posts an event. Returns the last reply, its meaning, and the body of a 2xx. The requests are
    /// counted if `stats` is given.
    pub(super) async fn post_event(
        &self,
        event: &WebhookEvent,
        stats: Option<&DeliveryStats>,
    ) -> (ReceiverReply, DeliveryOutcome, Vec<u8>) {
        let gone = (
            ReceiverReply::NoResponse("every receiver is gone".to_owned()),
            DeliveryOutcome::Gone,
            Vec::new(),
        );
        let (mut tried, mut last) = (Vec::new(), gone);
        while let Some(to) = self.select(&tried) {
            let began = Instant::now();
            let (reply, body) = self.client.post_event(to, event, self.daemon.clock.now()).await;
            let outcome = classify(&reply, self.format == EventFormat::ZStack);
            if let Some(stats) = stats {
                stats.count_request(outcome, began.elapsed());
            }
            let fail_over = self.on_reply(to, &reply, outcome);
            tried.push(to);
            last = (reply, outcome, body);
            if !fail_over {
                break;
            }
        }
        // A 410 stops delivery only if no other receiver is left.
        if last.1 == DeliveryOutcome::Gone && !self.all_gone() {
            last.1 = DeliveryOutcome::Retry(std::time::Duration::ZERO);
        }
        last
    }

    /// Returns the host and port of the active receiver, or `None` if none is up.
    pub(super) fn active_endpoint(&self) -> Option<String> {
        let active = self.lock_selector().active_endpoint(self.started.elapsed());
        active.map(|to| self.client.endpoint_name(to))
    }

    /// Returns the receivers with their last replies.
    pub(super) fn receivers(&self) -> Vec<ReceiverFact> {
        let replies = lock_unpoisoned(&self.replies).clone();
        let selector = self.lock_selector();
        let receiver = |to: usize| ReceiverFact {
            name: self.client.endpoint_name(to),
            connection: None,
            is_down: selector.is_down(to),
            last_reply: replies.get(&to).cloned(),
        };
        (0..self.client.endpoint_count()).map(receiver).collect()
    }

    /// Returns the certificate that is sent to the receivers, or `None` without one.
    pub(super) fn client_certificate(&self) -> Option<&CertificateFact> {
        self.client.certificate()
    }

    /// Returns true if every receiver has answered with 410.
    pub(super) fn all_gone(&self) -> bool {
        self.lock_selector().is_gone()
    }

    /// Makes the receivers that are gone available again. Called when an operator acts.
    pub(super) fn reset_gone(&self) {
        self.lock_selector().reset_gone();
    }

    fn select(&self, tried: &[usize]) -> Option<usize> {
        self.lock_selector().select(tried, self.started.elapsed())
    }

    fn on_reply(&self, to: usize, reply: &ReceiverReply, outcome: DeliveryOutcome) -> bool {
        let text = format!("{reply} ({})", self.daemon.clock.now());
        lock_unpoisoned(&self.replies).insert(to, text);
        let (before, uptime) = (self.active_endpoint(), self.started.elapsed());
        let fail_over = self.lock_selector().on_reply(
            to,
            reply,
            outcome,
            uptime,
            self.daemon.random.next_u64(),
        );
        let now = self.active_endpoint();
        let destination = self.client.endpoint_name(to);
        if self.client.endpoint_count() > 1 && fail_over && before != now {
            warn!(destination, %reply, "receiver down, failing over");
        } else if fail_over {
            debug!(destination, %reply, "event not delivered");
        } else if before != now {
            info!(destination, "receiver up");
        }
        fail_over
    }

    fn lock_selector(&self) -> MutexGuard<'_, EndpointSelector> {
        lock_unpoisoned(&self.selector)
    }
}
