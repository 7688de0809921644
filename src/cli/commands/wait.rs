//! `wait`: until a store is in a state.

use std::time::Duration;

use hyper::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout};

use super::{CommandError, CommandRunner, inventory, listed_stores};
use crate::cli::args::{AwaitedState, WaitArgs};
use crate::cli::client::{ClientError, RequestEffect};
use crate::cli::daemon_response::DaemonResponse;
use crate::cli::output::health::format_delivery;
use crate::cli::output::{raw_str_field, str_field};
use crate::cli::store_reference::StoreReference;
use crate::common::report_line;
use crate::model::StoreUuid;

/// The interval at which the health of the store is read. An operator hardly notices it.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The minimum time of the first look, also with a shorter limit. A daemon answers in milliseconds.
const MIN_FIRST_LOOK: Duration = Duration::from_secs(2);
/// The maximum time of a look. A daemon that was stopped does not close its connections.
const MAX_LOOK: Duration = Duration::from_secs(30);
/// The time after which a daemon that has not answered counts as silent. The last look may be cut
/// at any time.
const MIN_SILENCE: Duration = Duration::from_secs(1);

/// The state of the store, compared with the awaited one.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Reached,
    /// The present state, in words.
    Pending(String),
    /// The store will not reach the state.
    Impossible(&'static str),
}

/// The states that a command has seen while it waits.
struct SeenStates {
    awaited: AwaitedState,
    /// The last state, in words.
    state: Option<String>,
    /// The reason why the present state is not known, if it is not.
    failure: Option<String>,
    last_report: String,
}

impl SeenStates {
    fn new(awaited: AwaitedState) -> Self {
        Self { awaited, state: None, failure: None, last_report: String::new() }
    }

    fn add_state(&mut self, state: String) {
        let state = match self.awaited {
            AwaitedState::Delivered => state,
            AwaitedState::Connected | AwaitedState::Disconnected => format!("it is {state}"),
        };
        let awaited = awaited_word(self.awaited);
        self.report(format!("waiting until the store is {awaited}: {state}"));
        (self.state, self.failure) = (Some(state), None);
    }

    fn add_failure(&mut self, failure: String) {
        self.report(format!("waiting for the daemon: {failure}"));
        self.failure = Some(failure);
    }

    /// Reports what is waited for, unless that was the last line.
    fn report(&mut self, text: String) {
        if self.last_report != text {
            report_line(&text);
            self.last_report = text;
        }
    }

    /// Returns the last line of a command that has waited for this time.
    fn describe_end(&self, limit: Duration) -> String {
        let after = if limit.is_zero() { String::new() } else { format!(" after {limit:?}") };
        let awaited = awaited_word(self.awaited);
        match (&self.state, &self.failure) {
            (Some(state), None) => format!("the store is not {awaited}{after}: {state}"),
            (Some(state), Some(failure)) => {
                format!("the state of the store is not known{after}: {failure}; before: {state}")
            }
            (None, failure) => {
                let failure = failure.as_deref().unwrap_or("the daemon did not respond");
                format!("the state of the store is not known{after}: {failure}")
            }
        }
    }
}

impl CommandRunner {
    /// Waits until the store is in the awaited state. Returns false after the time of the command.
    pub(super) async fn wait_for_state(&self, args: &WaitArgs) -> Result<bool, CommandError> {
        self.wait_until(&args.store, args.awaited, args.timeout).await
    }

    /// Waits until the store is in the awaited state. Returns false after this time, with the last
    /// state on stderr. It looks at least once.
    pub(super) async fn wait_until(
        &self,
        reference: &StoreReference,
        awaited: AwaitedState,
        limit: Duration,
    ) -> Result<bool, CommandError> {
        let deadline = Instant::now() + limit;
        let mut seen = SeenStates::new(awaited);
        let mut store = reference.as_uuid();
        let mut time_left = limit.max(MIN_FIRST_LOOK);
        loop {
            let look_limit = time_left.min(MAX_LOOK);
            let look = self.look_once(reference, &mut store, awaited);
            let mut asked_delay = None;
            match timeout(look_limit, look).await {
                Ok(Ok(Some(Progress::Reached))) => return Ok(true),
                Ok(Ok(Some(Progress::Pending(state)))) => seen.add_state(state),
                Ok(Ok(Some(Progress::Impossible(why)))) => {
                    report_line(why);
                    return Ok(false);
                }
                Ok(Ok(None)) => return Ok(false),
                Ok(Err(WaitError::Temporary(why, delay))) => {
                    asked_delay = delay;
                    seen.add_failure(why);
                }
                Ok(Err(WaitError::Final(error))) => return Err(error),
                Err(_) if look_limit >= MIN_SILENCE => {
                    let limit = whole_millis(look_limit);
                    let address = self.daemon.describe_address();
                    seen.add_failure(ClientError::TimedOut { address, limit }.to_string());
                }
                Err(_) => {}
            }
            let next_look = Instant::now() + asked_delay.unwrap_or_default().max(POLL_INTERVAL);
            sleep_until(next_look.min(deadline)).await;
            if next_look >= deadline {
                report_line(seen.describe_end(limit));
                return Ok(false);
            }
            time_left = deadline.saturating_duration_since(Instant::now());
        }
    }

    /// Reads the state once. Returns `None` if the daemon answered with an error, which has been
    /// shown. `store` is filled in once the reference has been resolved.
    async fn look_once(
        &self,
        reference: &StoreReference,
        store: &mut Option<StoreUuid>,
        awaited: AwaitedState,
    ) -> Result<Option<Progress>, WaitError> {
        if store.is_none() {
            *store = self.find_store(reference).await?;
        }
        match *store {
            Some(store) => self.fetch_progress(store, awaited).await,
            None => Ok(None),
        }
    }

    async fn find_store(&self, reference: &StoreReference) -> Result<Option<StoreUuid>, WaitError> {
        let Some(reply) = self.read_daemon(&self.store_names_path()).await? else {
            return Ok(None);
        };
        let Some(stores) = listed_stores(&reply.body) else {
            let error = self.daemon.unexpected_response("list", RequestEffect::None);
            return Err(WaitError::Final(error.into()));
        };
        let store = reference.resolve(&stores);
        store.map(Some).map_err(|error| WaitError::Final(error.into()))
    }

    /// Sends a request that reads. Returns `None` if the daemon answered with an error that lasts,
    /// which has been shown.
    async fn read_daemon(&self, path: &str) -> Result<Option<DaemonResponse>, WaitError> {
        let reply = self.daemon.send_request(Method::GET, path, None).await?;
        if reply.may_pass() {
            return Err(WaitError::Temporary(
                self.describe_refusal(&reply),
                reply.honoured_delay(),
            ));
        }
        if !reply.status.is_success() {
            return self.show_inventory(&reply).map(|_| None).map_err(WaitError::Final);
        }
        Ok(Some(reply))
    }

    /// Returns the progress, or `None` if the daemon answered with an error, which has been shown.
    async fn fetch_progress(
        &self,
        store: StoreUuid,
        awaited: AwaitedState,
    ) -> Result<Option<Progress>, WaitError> {
        let path = format!("{}/stores/{store}/health", self.health_prefix);
        let Some(reply) = self.read_daemon(&path).await? else { return Ok(None) };
        if inventory(&reply.body).is_none() {
            let error = self.daemon.unexpected_response("wait", RequestEffect::None);
            return Err(WaitError::Final(error.into()));
        }
        Ok(Some(progress(&reply.body, awaited)))
    }
}

/// The reason why there is no state of the store.
enum WaitError {
    /// The daemon may answer later, and perhaps not before a delay that it asks for.
    Temporary(String, Option<Duration>),
    Final(CommandError),
}

impl From<ClientError> for WaitError {
    fn from(error: ClientError) -> Self {
        match error.is_temporary() {
            true => Self::Temporary(error.to_string(), None),
            false => Self::Final(error.into()),
        }
    }
}

fn whole_millis(time: Duration) -> Duration {
    time.saturating_sub(Duration::from_nanos((time.subsec_nanos() % 1_000_000).into()))
}

fn awaited_word(awaited: AwaitedState) -> &'static str {
    match awaited {
        AwaitedState::Connected => "Connected",
        AwaitedState::Disconnected => "Disconnected",
        AwaitedState::Delivered => "delivered",
    }
}

fn progress(health: &Value, awaited: AwaitedState) -> Progress {
    let status = health.pointer("/inventory/status").and_then(Value::as_str).unwrap_or_default();
    let reached = match awaited {
        AwaitedState::Delivered => {
            let Some(delivery) = health.get("delivery").filter(|found| found.is_object()) else {
                return Progress::Impossible("the daemon has no callback, so it delivers nothing");
            };
            if delivery.get("pending").and_then(Value::as_u64) == Some(0) {
                return Progress::Reached;
            }
            return Progress::Pending(format_delivery(delivery));
        }
        state => status == awaited_word(state),
    };
    if reached {
        return Progress::Reached;
    }
    let status = health.get("inventory").map(|store| str_field(store, "status"));
    let status = status.unwrap_or_default();
    let reason = health.get("reason").filter(|reason| !raw_str_field(reason, "details").is_empty());
    Progress::Pending(match reason {
        Some(reason) => format!("{status}: {}", str_field(reason, "details")),
        None => status,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_is_reached_or_has_its_reason() {
        let health = |status: &str, pending: Value| {
            json!({"inventory": {"status": status}, "reason": {"details": "not_mounted: no"},
                   "delivery": pending})
        };
        let one = json!({"pending": 1, "lastReply": "status 503"});
        let none = json!({"pending": 0});
        let pending = |text: &str| Progress::Pending(text.to_owned());
        for (status, delivery, awaited, expected) in [
            ("Connected", &one, AwaitedState::Connected, Progress::Reached),
            ("Disconnected", &one, AwaitedState::Disconnected, Progress::Reached),
            ("Connecting", &none, AwaitedState::Delivered, Progress::Reached),
            (
                "Disconnected",
                &none,
                AwaitedState::Connected,
                pending("Disconnected: not_mounted: no"),
            ),
            (
                "Connected",
                &one,
                AwaitedState::Delivered,
                pending("1 waiting; last reply: status 503"),
            ),
        ] {
            assert_eq!(progress(&health(status, delivery.clone()), awaited), expected);
        }
        let without = progress(&health("Connected", Value::Null), AwaitedState::Delivered);
        assert!(matches!(without, Progress::Impossible(_)));
    }

    #[test]
    fn the_end_says_the_last_state_or_that_it_is_not_known() {
        let second = Duration::from_secs(1);
        let mut seen = SeenStates::new(AwaitedState::Connected);
        seen.add_failure("no answer".to_owned());
        let end = seen.describe_end(second);
        assert_eq!(end, "the state of the store is not known after 1s: no answer");
        seen.add_state("Connecting".to_owned());
        let end = seen.describe_end(second);
        assert_eq!(end, "the store is not Connected after 1s: it is Connecting");
        assert_eq!(
            seen.describe_end(Duration::ZERO),
            "the store is not Connected: it is Connecting"
        );
        seen.add_failure("no answer".to_owned());
        assert_eq!(
            seen.describe_end(second),
            "the state of the store is not known after 1s: no answer; before: it is Connecting"
        );
        let mut seen = SeenStates::new(AwaitedState::Delivered);
        seen.add_state("1 waiting".to_owned());
        let end = seen.describe_end(second);
        assert_eq!(end, "the store is not delivered after 1s: 1 waiting");
    }
}
