//! `reconnect --progress`: the phases of an attempt as they end.

use std::future::pending;
use std::io;
use std::time::Duration;

use hyper::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::cli::client::{ClientError, DaemonAddress};
use crate::cli::daemon_response::DaemonResponse;
use crate::cli::event_stream::{EventSource, StreamBlock, StreamStart};
use crate::cli::output::phases::{format_phase, is_over, named_phase};
use crate::common::{PhaseEnd, print_json, print_text, report_line};
use crate::model::StoreUuid;
use crate::wire::PhaseLine;

/// Maximum time until the last phases arrive after the result of an attempt. The daemon has sent
/// them by then.
const LAST_PHASES_TIMEOUT: Duration = Duration::from_secs(2);
/// The same after a failure without a phase. There may have been no attempt.
const NO_PHASES_TIMEOUT: Duration = Duration::from_millis(200);

/// Shows the phases of the attempts of one store.
#[derive(Clone, Debug)]
pub(super) struct PhaseView {
    /// The path of the attempt, below the agent prefix.
    path: String,
    store: StoreUuid,
    /// The name in each line, if there are several stores.
    name: Option<String>,
    as_json: bool,
}

/// The progress of the attempt whose phases were shown last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShownAttempt {
    None,
    Running,
    Over,
}

impl PhaseView {
    pub(super) fn new(
        health_prefix: &str,
        store: StoreUuid,
        name: Option<String>,
        as_json: bool,
    ) -> Self {
        let path = format!("{health_prefix}/stores/{store}/attempt");
        Self { path, store, name, as_json }
    }

    /// Reconnects the store, and shows the phases of the attempt meanwhile. A daemon that shows no
    /// phases reconnects it all the same.
    ///
    /// # Errors
    /// Those of [`DaemonAddress::change_store`].
    ///
    /// # Cancel safety
    /// That of [`DaemonAddress::change_store`].
    pub(super) async fn reconnect(
        &self,
        daemon: &DaemonAddress,
        actions_path: &str,
        body: &Value,
    ) -> Result<DaemonResponse, ClientError> {
        let mut stream = self.open(daemon).await;
        let mut shown = ShownAttempt::None;
        let reply = {
            let reconnecting = daemon.change_store(Method::PUT, actions_path, Some(body));
            tokio::pin!(reconnecting);
            loop {
                tokio::select! {
                    biased;
                    block = next_block(&mut stream) => self.show_block(block, &mut shown),
                    reply = &mut reconnecting => break reply,
                }
            }
        };
        let succeeded = reply.as_ref().is_ok_and(|reply| reply.status.is_success());
        let limit = match shown {
            ShownAttempt::None if !succeeded => NO_PHASES_TIMEOUT,
            _ => LAST_PHASES_TIMEOUT,
        };
        let ends_at = Instant::now() + limit;
        while stream.is_some() && shown != ShownAttempt::Over {
            tokio::select! {
                biased;
                block = next_block(&mut stream) => self.show_block(block, &mut shown),
                () = sleep_until(ends_at) => break,
            }
        }
        reply
    }

    /// Shows the end of the delivery of the notices, as a phase.
    pub(super) fn show_delivery(&self, took: Duration, succeeded: bool) {
        let phase = PhaseEnd { phase: "delivered", took, failed: !succeeded };
        if let Ok(line) = serde_json::to_value(PhaseLine::from(phase)) {
            let _ = self.print_phase(line);
        }
    }

    /// Opens the stream of the phases. The reconnect itself reports that the daemon does not
    /// answer.
    async fn open(&self, daemon: &DaemonAddress) -> Option<EventSource> {
        match daemon.open_events(&self.path, None).await {
            Ok(StreamStart::Open(stream)) => Some(stream),
            Ok(StreamStart::Refused(reply)) => {
                let address = daemon.describe_address();
                report_line(format_args!(
                    "the daemon at {address} shows no phases: it answers with {}",
                    reply.status
                ));
                None
            }
            Err(_) => None,
        }
    }

    fn show_block(&self, block: Option<StreamBlock>, shown: &mut ShownAttempt) {
        let Some(event) = block.and_then(|block| block.event) else { return };
        if is_over(&event) {
            *shown = ShownAttempt::Over;
            return;
        }
        *shown = ShownAttempt::Running;
        // The result of the reconnect reports an output that cannot be written.
        let _ = self.print_phase(event);
    }

    fn print_phase(&self, event: Value) -> io::Result<()> {
        match self.as_json {
            true => print_json(&named_phase(event, self.store, self.name.as_deref()))?,
            false => print_text(&format_phase(&event, self.name.as_deref()))?,
        };
        Ok(())
    }
}

/// Waits for the next block. The stream is `None` after its end, and then there is no next block.
async fn next_block(stream: &mut Option<EventSource>) -> Option<StreamBlock> {
    let Some(open) = stream else { return pending().await };
    let block = open.next_block().await;
    if block.is_none() {
        *stream = None;
    }
    block
}
