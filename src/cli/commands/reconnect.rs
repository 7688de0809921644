//! `reconnect`: one store, or all of them, several at a time.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::progress::PhaseView;
use super::request_body;
use super::{CommandError, CommandRunner, inventory};
use crate::cli::args::{AwaitedState, ReconnectArgs};
use crate::cli::client::{ClientError, RequestEffect};
use crate::cli::daemon_response::DaemonResponse;
use crate::cli::output;
use crate::cli::store_reference::ListedStore;
use crate::common::{mask_hidden, print_json, print_text, report_line, report_text};
use crate::model::StoreUuid;

/// The maximum number of concurrent reconnects of `--all`. The daemon has limits of its own.
const MAX_CONCURRENT_RECONNECTS: usize = 8;

impl CommandRunner {
    /// Reconnects one store or all stores. Returns true if every reconnect succeeded.
    pub(super) async fn reconnect_stores(
        &self,
        args: &ReconnectArgs,
    ) -> Result<bool, CommandError> {
        let params = if args.force { json!({ "force": true }) } else { json!({}) };
        let body = request_body::with_tags("reconnectImageStoreBackupStorage", params, &args.tags);
        let Some(store) = &args.store else {
            return self.reconnect_all(Arc::new(body), args.progress).await;
        };
        let Some(store) = self.resolve_store(store).await? else { return Ok(false) };
        let path = format!("{}/{store}/actions", self.stores_path);
        let view = PhaseView::new(&self.health_prefix, store, None, self.as_json);
        let view = Some(view).filter(|_| args.progress);
        let reply = match &view {
            Some(view) => view.reconnect(&self.daemon, &path, &body).await?,
            None => self.daemon.change_store(Method::PUT, &path, Some(&body)).await?,
        };
        // Without an attempt there is no notice of it. A failed one has notices too.
        let has_notices = reply.status.is_success() || reply.status.is_server_error();
        let delivered = match args.wait_delivered.filter(|_| has_notices) {
            Some(limit) => self.wait_for_delivery(store, limit, view.as_ref()).await,
            None => Ok(true),
        };
        let succeeded = self.show_inventory(&reply)?;
        Ok(delivered? && succeeded)
    }

    /// Waits until the notices of a store are delivered. Returns false after this time.
    async fn wait_for_delivery(
        &self,
        store: StoreUuid,
        limit: Duration,
        view: Option<&PhaseView>,
    ) -> Result<bool, CommandError> {
        let began = Instant::now();
        let delivered = self.wait_until(&store.into(), AwaitedState::Delivered, limit).await;
        if let Some(view) = view {
            view.show_delivery(began.elapsed(), matches!(delivered, Ok(true)));
        }
        delivered
    }

    /// Reconnects every store. A store whose request fails does not keep the others from being
    /// reconnected.
    async fn reconnect_all(
        &self,
        body: Arc<Value>,
        with_progress: bool,
    ) -> Result<bool, CommandError> {
        let Some(stores) = self.fetch_stores().await? else { return Ok(false) };
        let (count, mut failed) = (stores.len(), 0_usize);
        let mut waiting = stores.into_iter();
        let mut running = JoinSet::new();
        let daemon = Arc::new(self.daemon.clone());
        loop {
            while running.len() < MAX_CONCURRENT_RECONNECTS
                && let Some(store) = waiting.next()
            {
                let (daemon, body) = (Arc::clone(&daemon), Arc::clone(&body));
                let path = format!("{}/{}/actions", self.stores_path, store.uuid);
                let view = with_progress.then(|| {
                    let name = Some(store.name.clone());
                    PhaseView::new(&self.health_prefix, store.uuid, name, self.as_json)
                });
                running.spawn(async move {
                    let reply = match view {
                        Some(view) => view.reconnect(&daemon, &path, &body).await,
                        None => daemon.change_store(Method::PUT, &path, Some(&body)).await,
                    };
                    (store, reply)
                });
            }
            match running.join_next().await {
                Some(Ok((store, reply))) => {
                    let succeeded = self.show_reconnected(&store, reply)?;
                    failed = failed.saturating_add(usize::from(!succeeded));
                }
                Some(Err(panic)) => return Err(CommandError::Client(panic.to_string())),
                None => break,
            }
        }
        if failed > 0 {
            report_line(format_args!("{failed} of {count} stores are not connected"));
        }
        Ok(failed == 0)
    }

    /// Shows the result of one of several stores, with the store that it belongs to. Returns true
    /// if the store is connected.
    fn show_reconnected(
        &self,
        store: &ListedStore,
        reply: Result<DaemonResponse, ClientError>,
    ) -> Result<bool, CommandError> {
        let reply = match reply {
            Ok(reply) if !reply.status.is_success() || inventory(&reply.body).is_some() => reply,
            Ok(_) => {
                let error = self.daemon.unexpected_response("reconnect", RequestEffect::Possible);
                return Ok(report_store_error(store, &error));
            }
            Err(error) => return Ok(report_store_error(store, &error)),
        };
        let succeeded = reply.status.is_success();
        if self.as_json {
            print_json(&named_response(store, reply.body))?;
        } else if succeeded {
            let found = inventory(&reply.body).map(output::format_reconnected);
            print_text(&found.unwrap_or_default())?;
        } else {
            report_text(&format!(
                "{}\n{}",
                store_title(store),
                output::format_failure(&reply.body)
            ));
        }
        Ok(succeeded)
    }
}

fn report_store_error(store: &ListedStore, error: &ClientError) -> bool {
    report_text(&format!("{}\n{}\n", store_title(store), mask_hidden(&error.to_string())));
    false
}

fn store_title(store: &ListedStore) -> String {
    format!("{}  {}", store.uuid, mask_hidden(&store.name))
}

/// Returns the response of one of several stores, with the uuid and the name of the store.
fn named_response(store: &ListedStore, response: Value) -> Value {
    let mut named = if response.is_object() { response } else { json!({}) };
    if let Some(fields) = named.as_object_mut() {
        fields.insert("uuid".to_owned(), store.uuid.to_string().into());
        fields.insert("name".to_owned(), store.name.as_str().into());
    }
    named
}
