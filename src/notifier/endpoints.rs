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
pub(super) struct Destinations {
    client: CallbackClient,
    format: EventFormat,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    route: Mutex<EndpointSelector>,
    started: Instant,
}

impl Destinations {
    pub(super) fn new(
        client: CallbackClient,
        format: EventFormat,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let route = Mutex::new(EndpointSelector::new(client.destinations()));
        Self { client, format, clock, random, route, started: Instant::now() }
    }

    /// Posts an event: the last reply, what it means, and what a 2xx has said.
    pub(super) async fn post(
        &self,
        event: &WebhookEvent,
    ) -> (ReceiverReply, DeliveryOutcome, Vec<u8>) {
        let gone = (
            ReceiverReply::Unreached("every receiver is gone".to_owned()),
            DeliveryOutcome::Gone,
            Vec::new(),
        );
        let (mut tried, mut last) = (Vec::new(), gone);
        while let Some(to) = self.pick(&tried) {
            let (reply, said) = self.client.ask(to, event, self.clock.now()).await;
            let verdict = classify(&reply, self.format == EventFormat::ZStack);
            let on = self.replied(to, &reply, verdict);
            tried.push(to);
            last = (reply, verdict, said);
            if !on {
                break;
            }
        }
        // A lane is stopped by 410 only when nobody else is left.
        if last.1 == DeliveryOutcome::Gone && !self.are_gone() {
            last.1 = DeliveryOutcome::Retry(std::time::Duration::ZERO);
        }
        last
    }

    /// The receiver that is sent to now, as far as is known.
    pub(super) fn active(&self) -> Option<String> {
        let active = self.lock().active_endpoint(self.started.elapsed());
        active.map(|to| self.client.name(to))
    }

    /// Whether all have said that they want nothing any more.
    pub(super) fn are_gone(&self) -> bool {
        self.lock().is_gone()
    }

    /// A person acts.
    pub(super) fn revive(&self) {
        self.lock().reset_gone();
    }

    fn pick(&self, tried: &[usize]) -> Option<usize> {
        self.lock().select(tried, self.started.elapsed())
    }

    fn replied(&self, to: usize, reply: &ReceiverReply, verdict: DeliveryOutcome) -> bool {
        let (before, uptime) = (self.active(), self.started.elapsed());
        let on = self.lock().on_reply(to, reply, verdict, uptime, self.random.next_u64());
        let now = self.active();
        let destination = self.client.name(to);
        if self.client.destinations() > 1 && on && before != now {
            warn!(destination, %reply, "the receiver is down: the next one is sent to");
        } else if on {
            debug!(destination, %reply, "not taken");
        } else if before != now {
            info!(destination, "the receiver is up");
        }
        on
    }

    fn lock(&self) -> MutexGuard<'_, EndpointSelector> {
        lock_unpoisoned(&self.route)
    }
}
