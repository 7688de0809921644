//! `wait`: until a store is in a state.

use std::time::Duration;

use hyper::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::{CommandError, CommandRunner, inventory, listed_stores};
use crate::cli::args::{AwaitedState, WaitArgs};
use crate::cli::client::RequestEffect;
use crate::cli::daemon_response::DaemonResponse;
use crate::cli::output::health::format_delivery;
use crate::cli::output::{raw_str_field, str_field};
use crate::cli::store_reference::StoreReference;
use crate::common::report_line;
use crate::model::StoreUuid;

/// The interval at which the health of the store is read. An operator hardly notices it.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The state of the store, compared with the awaited one.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Reached,
    /// The present state, in words.
    Pending(String),
    /// The store will not reach the state.
    Impossible(&'static str),
}

impl CommandRunner {
    /// Waits until the store is in the awaited state. Returns false after the time of the command.
    pub(super) async fn wait_for_state(&self, args: &WaitArgs) -> Result<bool, CommandError> {
        self.wait_until(&args.store, args.awaited, args.timeout).await
    }

    /// Waits until the store is in the awaited state. Returns false after this time.
    pub(super) async fn wait_until(
        &self,
        store: &StoreReference,
        awaited: AwaitedState,
        limit: Duration,
    ) -> Result<bool, CommandError> {
        let deadline = Instant::now() + limit;
        let mut last_report = String::new();
        let mut report = |text: String| {
            if last_report != text {
                report_line(&text);
                last_report = text;
            }
        };
        match timeout_at(deadline, self.poll_state(store, awaited, &mut report)).await {
            Ok(result) => result,
            Err(_) => {
                report_line(format_args!(
                    "the store is not {} after {limit:?}",
                    awaited_word(awaited)
                ));
                Ok(false)
            }
        }
    }

    async fn poll_state(
        &self,
        reference: &StoreReference,
        awaited: AwaitedState,
        report: &mut impl FnMut(String),
    ) -> Result<bool, CommandError> {
        let mut store = reference.as_uuid();
        loop {
            let progress = match store {
                Some(store) => self.fetch_progress(store, awaited).await,
                None => match self.find_store(reference).await {
                    Ok(Some(found)) => {
                        store = Some(found);
                        continue;
                    }
                    Ok(None) => return Ok(false),
                    Err(error) => Err(error),
                },
            };
            let mut asked_delay = None;
            match progress {
                Ok(Some(Progress::Reached)) => return Ok(true),
                Ok(Some(Progress::Pending(state))) => report(format!(
                    "waiting until the store is {}: it is {state}",
                    awaited_word(awaited)
                )),
                Ok(Some(Progress::Impossible(why))) => {
                    report_line(why);
                    return Ok(false);
                }
                Ok(None) => return Ok(false),
                Err(WaitError::Temporary(why, delay)) => {
                    asked_delay = delay;
                    report(format!("waiting for the daemon: {why}"));
                }
                Err(WaitError::Final(error)) => return Err(error),
            }
            sleep(asked_delay.unwrap_or_default().max(POLL_INTERVAL)).await;
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

impl From<crate::cli::client::ClientError> for WaitError {
    fn from(error: crate::cli::client::ClientError) -> Self {
        match error.is_temporary() {
            true => Self::Temporary(error.to_string(), None),
            false => Self::Final(error.into()),
        }
    }
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
}
