//! Selects the receiver of a request: the first one that is up, in the order of preference.
//!
//! The receivers are one logical receiver with several addresses. A notice that one of them took is
//! not sent to another.

use std::time::Duration;

use super::{DeliveryOutcome, ReceiverReply};
use crate::common::Backoff;

/// Backoff before a failed receiver is tried again. The limit of the random delay grows from 1 s to
/// 60 s.
const ENDPOINT_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// Time for which only one request probes a receiver that was down. 10 s is the maximum duration of
/// a request.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The state of all receivers. A plain value without locks or timers.
#[derive(Clone, Debug)]
pub struct EndpointSelector {
    endpoints: Vec<EndpointState>,
}

#[derive(Clone, Debug, Default)]
struct EndpointState {
    failures: u32,
    not_before: Duration,
    gone: bool,
}

impl EndpointSelector {
    /// Creates a selector for this number of receivers. All of them count as up.
    pub fn new(receivers: usize) -> Self {
        Self { endpoints: vec![EndpointState::default(); receivers] }
    }

    /// Returns the receiver to try now, among those that are not in `tried`.
    ///
    /// This is the first receiver that is up. If none is up and `tried` is empty, it is the one
    /// that is due soonest, because then the backoff of the sender decides when to send. A receiver
    /// that failed before is reserved for `PROBE_TIMEOUT`. Returns `None` if no receiver is left
    /// to try.
    pub fn select(&mut self, tried: &[usize], uptime: Duration) -> Option<usize> {
        let endpoints = self.endpoints.iter_mut().enumerate();
        let mut candidates: Vec<(usize, &mut EndpointState)> =
            endpoints.filter(|(at, endpoint)| !endpoint.gone && !tried.contains(at)).collect();
        let up = candidates.iter().position(|(_, endpoint)| endpoint.not_before <= uptime);
        let soonest = || {
            let due =
                candidates.iter().enumerate().min_by_key(|(_, (_, endpoint))| endpoint.not_before);
            due.map(|(at, _)| at).filter(|_| tried.is_empty())
        };
        let at = up.or_else(soonest)?;
        let (receiver, endpoint) = candidates.get_mut(at)?;
        if endpoint.failures > 0 {
            endpoint.not_before = endpoint.not_before.max(uptime.saturating_add(PROBE_TIMEOUT));
        }
        Some(*receiver)
    }

    /// Returns the first receiver that counts as up, or `None` if none does.
    pub fn active_endpoint(&self, uptime: Duration) -> Option<usize> {
        self.endpoints.iter().position(|endpoint| !endpoint.gone && endpoint.not_before <= uptime)
    }

    /// Returns true if the receiver is gone, or its last reply was a failure.
    pub fn is_down(&self, receiver: usize) -> bool {
        self.endpoints.get(receiver).is_some_and(|endpoint| endpoint.gone || endpoint.failures > 0)
    }

    /// Records the reply of a receiver. `random` is a random number.
    ///
    /// Returns true if another receiver is to be tried. A receiver that does not answer, or answers
    /// with 5xx, is down. A receiver that answers with 410 is gone. Every other reply means that it
    /// is up.
    pub fn on_reply(
        &mut self,
        receiver: usize,
        reply: &ReceiverReply,
        outcome: DeliveryOutcome,
        uptime: Duration,
        random: u64,
    ) -> bool {
        let Some(endpoint) = self.endpoints.get_mut(receiver) else { return false };
        let down = match reply {
            ReceiverReply::NoResponse(_) => true,
            ReceiverReply::Response { status, .. } => *status >= 500,
        };
        match outcome {
            DeliveryOutcome::Gone => endpoint.gone = true,
            DeliveryOutcome::Retry(at_least) if down => {
                endpoint.failures = endpoint.failures.saturating_add(1);
                let wait = ENDPOINT_BACKOFF.delay(endpoint.failures, random).max(at_least);
                endpoint.not_before = uptime.saturating_add(wait);
            }
            DeliveryOutcome::Retry(_)
            | DeliveryOutcome::Delivered
            | DeliveryOutcome::NoHandler
            | DeliveryOutcome::Rejected => {
                *endpoint = EndpointState::default();
                return false;
            }
        }
        true
    }

    /// Returns true if every receiver has answered with 410.
    pub fn is_gone(&self) -> bool {
        self.endpoints.iter().all(|endpoint| endpoint.gone)
    }

    /// Makes the receivers that are gone available again. Called when an operator acts.
    pub fn reset_gone(&mut self) {
        self.endpoints
            .iter_mut()
            .filter(|endpoint| endpoint.gone)
            .for_each(|endpoint| *endpoint = EndpointState::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16) -> ReceiverReply {
        ReceiverReply::Response { status, retry_after: None, excerpt: String::new() }
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    const AGAIN: DeliveryOutcome = DeliveryOutcome::Retry(Duration::ZERO);
    /// The longest wait.
    const LATE: u64 = u64::MAX;

    #[test]
    fn the_first_receiver_that_is_up_is_selected() {
        let mut selector = EndpointSelector::new(3);
        assert_eq!(selector.select(&[], secs(0)), Some(0));
        assert!(selector.on_reply(0, &ReceiverReply::NoResponse("x".into()), AGAIN, secs(0), LATE));
        assert_eq!(
            (selector.is_down(0), selector.is_down(1), selector.is_down(9)),
            (true, false, false)
        );
        assert_eq!(selector.select(&[0], secs(0)), Some(1));
        assert!(selector.on_reply(1, &response(503), AGAIN, secs(0), LATE));
        assert_eq!(selector.select(&[0, 1], secs(0)), Some(2));
        assert!(!selector.on_reply(2, &response(200), DeliveryOutcome::Delivered, secs(0), LATE));
        assert_eq!(
            (selector.select(&[], secs(0)), selector.active_endpoint(secs(0))),
            (Some(2), Some(2))
        );
        // Due again: one request probes it, and the others do not wait for the outcome.
        assert_eq!(selector.select(&[], secs(2)), Some(0));
        assert_eq!(selector.select(&[], secs(2)), Some(1));
        assert_eq!(selector.select(&[], secs(2)), Some(2));
        assert!(!selector.on_reply(0, &response(200), DeliveryOutcome::Delivered, secs(2), LATE));
        assert_eq!(selector.select(&[], secs(2)), Some(0));
    }

    #[test]
    fn when_none_is_up_the_soonest_is_tried_and_once_tried_no_other() {
        let mut selector = EndpointSelector::new(2);
        selector.on_reply(0, &response(500), DeliveryOutcome::Retry(secs(50)), secs(0), 0);
        selector.on_reply(1, &response(500), DeliveryOutcome::Retry(secs(20)), secs(0), 0);
        assert_eq!(selector.select(&[], secs(1)), Some(1));
        assert_eq!(selector.select(&[1], secs(1)), None);
    }

    #[test]
    fn a_rejection_and_a_request_for_a_delay_show_that_a_receiver_is_up() {
        let mut selector = EndpointSelector::new(2);
        for (status, outcome) in
            [(400, DeliveryOutcome::Rejected), (429, DeliveryOutcome::Retry(secs(30)))]
        {
            assert!(!selector.on_reply(0, &response(status), outcome, secs(0), LATE));
            assert_eq!(selector.select(&[], secs(0)), Some(0));
        }
    }

    #[test]
    fn a_receiver_that_is_gone_is_not_selected_until_an_operator_acts() {
        let mut selector = EndpointSelector::new(2);
        assert!(selector.on_reply(0, &response(410), DeliveryOutcome::Gone, secs(0), 0));
        assert_eq!((selector.select(&[], secs(9999)), selector.is_gone()), (Some(1), false));
        assert!(selector.on_reply(1, &response(410), DeliveryOutcome::Gone, secs(0), 0));
        assert_eq!((selector.select(&[], secs(9999)), selector.is_gone()), (None, true));
        selector.reset_gone();
        assert_eq!((selector.select(&[], secs(0)), selector.is_gone()), (Some(0), false));
    }
}
