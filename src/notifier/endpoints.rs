//! The receivers behind `callback.urls`, as lanes and heartbeat share them: each request goes to the first
//! that is up, and on to the next when that one is not.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::common::{Clock, Random, lock_unpoisoned};
use crate::delivery::{DeliveryOutcome, EndpointSelector, ReceiverReply, classify};
use crate::management::CallbackClient;
use crate::wire::{EventFormat, WebhookEvent};

/// Where requests go.
pub(super) struct CallbackEndpoints {
    client: CallbackClient,
    format: EventFormat,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    route: Mutex<EndpointSelector>,
    started: Instant,
}

impl CallbackEndpoints {
    pub(super) fn new(
        client: CallbackClient,
        format: EventFormat,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let route = Mutex::new(EndpointSelector::new(client.endpoint_count()));
        Self { client, format, clock, random, route, started: Instant::now() }
    }

    /// Posts an event: the last reply, what it means, and what a 2xx has said.
    pub(super) async fn post_event(
        &self,
        event: &WebhookEvent,
    ) -> (ReceiverReply, DeliveryOutcome, Vec<u8>) {
        let gone = (
            ReceiverReply::Unreached("every receiver is gone".to_owned()),
            DeliveryOutcome::Gone,
            Vec::new(),
        );
        let (mut tried, mut last) = (Vec::new(), gone);
        while let Some(to) = self.select(&tried) {
            let (reply, said) = self.client.post_event(to, event, self.clock.now()).await;
            let verdict = classify(&reply, self.format == EventFormat::ZStack);
            let on = self.on_reply(to, &reply, verdict);
            tried.push(to);
            last = (reply, verdict, said);
            if !on {
                break;
            }
        }
        // A lane is stopped by 410 only when nobody else is left.
        if last.1 == DeliveryOutcome::Gone && !self.all_gone() {
            last.1 = DeliveryOutcome::Retry(std::time::Duration::ZERO);
        }
        last
    }

    /// The receiver that is sent to now, as far as is known.
    pub(super) fn active_endpoint(&self) -> Option<String> {
        let active = self.lock_selector().active_endpoint(self.started.elapsed());
        active.map(|to| self.client.endpoint_name(to))
    }

    /// Whether all have said that they want nothing any more.
    pub(super) fn all_gone(&self) -> bool {
        self.lock_selector().is_gone()
    }

    /// A person acts.
    pub(super) fn reset_gone(&self) {
        self.lock_selector().reset_gone();
    }

    fn select(&self, tried: &[usize]) -> Option<usize> {
        self.lock_selector().select(tried, self.started.elapsed())
    }

    fn on_reply(&self, to: usize, reply: &ReceiverReply, verdict: DeliveryOutcome) -> bool {
        let (before, uptime) = (self.active_endpoint(), self.started.elapsed());
        let on = self.lock_selector().on_reply(to, reply, verdict, uptime, self.random.next_u64());
        let now = self.active_endpoint();
        let destination = self.client.endpoint_name(to);
        if self.client.endpoint_count() > 1 && on && before != now {
            warn!(destination, %reply, "the receiver is down: the next one is sent to");
        } else if on {
            debug!(destination, %reply, "not taken");
        } else if before != now {
            info!(destination, "the receiver is up");
        }
        on
    }

    fn lock_selector(&self) -> MutexGuard<'_, EndpointSelector> {
        lock_unpoisoned(&self.route)
    }
}
