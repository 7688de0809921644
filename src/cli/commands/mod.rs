//! Runs the client commands: sends their requests and shows the responses.

mod events;
mod follow;
mod list;
mod progress;
mod reconnect;
mod request_body;
mod wait;

use std::io::{self, BufRead as _};
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::args::{CapacityArgs, ClientCommand, ConfirmArgs, ConnectionArgs};
use super::client::{ClientError, DaemonAddress, RequestEffect, SYSTEM_TRUST};
use super::daemon_response::DaemonResponse;
use super::output;
use super::output::capacity::format_capacity;
use super::output::health;
use super::secrets::{self, SecretError};
use super::store_reference::{ListedStore, ReferenceError, StoreReference};
use crate::common::{print_json, print_text, prompt_text, report_line, report_text};
use crate::model::{Secret, StoreUuid};
use crate::settings::Settings;
use crate::tls::ClientTlsFiles;

/// The timeout of a healthcheck. A healthy daemon responds within milliseconds.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// The reason why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The daemon cannot be reached, or its response is not valid.
    #[error("{0}")]
    Client(String),
    /// A secret cannot be read.
    #[error("{0}")]
    Secret(String),
    /// The argument does not name exactly one store.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The result or a question cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// The answer to a question cannot be read.
    #[error("cannot read the answer from standard input: {0}")]
    Answer(io::Error),
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        Self::Client(error.to_string())
    }
}

impl From<SecretError> for CommandError {
    fn from(error: SecretError) -> Self {
        Self::Secret(error.to_string())
    }
}

/// Runs one command. Returns true if it succeeded. An error response of the daemon has been shown
/// by then.
///
/// # Errors
/// Returns [`CommandError`] if there is no response to show, or if it cannot be written.
///
/// # Cancel safety
/// The daemon finishes requests that have begun.
pub async fn run_command(
    command: &ClientCommand,
    settings: &Settings,
    token: Option<Secret>,
) -> Result<bool, CommandError> {
    let (connection, as_json) = command.common();
    // The settings guarantee at least one base path, and at least one prefix.
    let base_path = settings.server.base_paths.first().cloned().unwrap_or_default();
    let runner = CommandRunner {
        daemon: daemon_address(connection, settings, token)?,
        stores_path: format!("{base_path}/v1/backup-storage/image-store"),
        any_store_path: format!("{base_path}/v1/backup-storage"),
        health_prefix: settings.server.agent_prefixes.first().cloned().unwrap_or_default(),
        as_json,
    };
    match command {
        ClientCommand::Add(args) => {
            let body = request_body::add_body(args, &secrets::read_credentials(&args.secrets)?);
            let reply =
                runner.daemon.change_store(Method::POST, &runner.stores_path, Some(&body)).await?;
            runner.show_inventory(&reply)
        }
        ClientCommand::Update(args) => {
            let credentials = secrets::read_sources(&args.secrets, args.password)?;
            let Some(store) = runner.resolve_store(&args.store).await? else { return Ok(false) };
            let path = format!("{}/{store}/actions", runner.stores_path);
            let body = request_body::update_body(args, &credentials);
            let reply = runner.daemon.change_store(Method::PUT, &path, Some(&body)).await?;
            runner.show_inventory(&reply)
        }
        ClientCommand::List(args) => runner.list_stores(args).await,
        ClientCommand::Show(args) => runner.show_store(&args.store).await,
        ClientCommand::Capacity(args) => runner.show_capacity(args).await,
        ClientCommand::Events(args) => runner.show_events(args).await,
        ClientCommand::Wait(args) => runner.wait_for_state(args).await,
        ClientCommand::Reconnect(args) => runner.reconnect_stores(args).await,
        ClientCommand::Remove(args) => runner.remove_store(args).await,
        ClientCommand::AcceptHostKey(args) => runner.accept_host_key(args).await,
        ClientCommand::Healthcheck(_) => runner.check_health().await,
    }
}

/// Returns the address of the daemon that the options select.
///
/// # Errors
/// Returns [`CommandError`] if a file cannot be used, or if the token would be sent in plain text.
pub fn daemon_address(
    connection: &ConnectionArgs,
    settings: &Settings,
    token: Option<Secret>,
) -> Result<DaemonAddress, CommandError> {
    let Some(url) = &connection.daemon_url else {
        return Ok(DaemonAddress::Socket(settings.server.socket.clone()));
    };
    let token = connection.token_file.as_deref().map(secrets::read_token).transpose()?.or(token);
    let trust = ClientTlsFiles {
        ca: connection.ca_file.as_deref(),
        // The command line rejects one without the other.
        identity: connection.client_cert.as_deref().zip(connection.client_key.as_deref()),
        ..SYSTEM_TRUST
    };
    let has_token = token.is_some();
    let address = DaemonAddress::with_trust(url, token, &trust)?;
    if has_token && !connection.insecure_http && address.is_readable_on_the_way() {
        return Err(ClientError::TokenInPlainText(url.to_owned()).into());
    }
    Ok(address)
}

struct CommandRunner {
    daemon: DaemonAddress,
    stores_path: String,
    any_store_path: String,
    health_prefix: String,
    as_json: bool,
}

impl CommandRunner {
    /// Returns the path of the query for all stores. Without a limit, a query returns the first
    /// thousand.
    fn all_stores_path(&self) -> String {
        format!("{}?limit={}", self.stores_path, u32::MAX)
    }

    /// Describes a response with an error in one line.
    fn describe_refusal(&self, reply: &DaemonResponse) -> String {
        let address = self.daemon.describe_address();
        let details = output::error_details(&reply.body);
        format!("the daemon at {address} answers with {}: {details}", reply.status)
    }

    /// Returns the path of the query for the uuid and name of all stores.
    fn store_names_path(&self) -> String {
        format!("{}&fields=uuid,name", self.all_stores_path())
    }

    /// Returns the store that an argument names, or `None` if the daemon answered the question with
    /// an error, which has been shown. A whole uuid needs no question.
    async fn resolve_store(
        &self,
        reference: &StoreReference,
    ) -> Result<Option<StoreUuid>, CommandError> {
        if let Some(uuid) = reference.as_uuid() {
            return Ok(Some(uuid));
        }
        let Some(stores) = self.fetch_stores().await? else { return Ok(None) };
        Ok(Some(reference.resolve(&stores)?))
    }

    /// Returns all stores, or `None` if the daemon answered with an error, which has been shown.
    async fn fetch_stores(&self) -> Result<Option<Vec<ListedStore>>, CommandError> {
        let reply = self.daemon.send_request(Method::GET, &self.store_names_path(), None).await?;
        if !reply.status.is_success() {
            return self.show_inventory(&reply).map(|_| None);
        }
        let stores = listed_stores(&reply.body);
        Ok(Some(
            stores.ok_or_else(|| self.daemon.unexpected_response("list", RequestEffect::None))?,
        ))
    }

    async fn show_store(&self, store: &StoreReference) -> Result<bool, CommandError> {
        let Some(store) = self.resolve_store(store).await? else { return Ok(false) };
        let reply = self.fetch_health(store).await?;
        self.show_reply("show", RequestEffect::None, &reply, |body| {
            inventory(body).map(|_| health::format_health(body))
        })
    }

    async fn show_capacity(&self, args: &CapacityArgs) -> Result<bool, CommandError> {
        let Some(store) = self.resolve_store(&args.store).await? else { return Ok(false) };
        let path = format!("{}/stores/{store}/capacity?since={}d", self.health_prefix, args.since);
        let reply = self.daemon.send_request(Method::GET, &path, None).await?;
        self.show_reply("capacity", RequestEffect::None, &reply, format_capacity)
    }

    async fn fetch_health(&self, store: StoreUuid) -> Result<DaemonResponse, CommandError> {
        let path = format!("{}/stores/{store}/health", self.health_prefix);
        Ok(self.daemon.send_request(Method::GET, &path, None).await?)
    }

    /// Accepts the offered key that was shown. The request contains its fingerprint, so that
    /// another key that an attempt records meanwhile is not pinned.
    async fn accept_host_key(&self, args: &ConfirmArgs) -> Result<bool, CommandError> {
        let Some(store) = self.resolve_store(&args.store).await? else { return Ok(false) };
        let reply = self.fetch_health(store).await?;
        if !reply.status.is_success() {
            return self.show_inventory(&reply);
        }
        let Some(keys) = health::rejected_host_keys(&reply.body) else {
            report_line(format_args!("store {store} has no rejected host key to accept"));
            return Ok(false);
        };
        prompt_text(&keys.text)?;
        if !args.yes
            && !confirm("Is the offered key the key of the server, as shown on the server itself?")?
        {
            return Ok(false);
        }
        let path = format!("{}/{store}/actions", self.stores_path);
        let body = json!({ "acceptHostKey": { "fingerprint": keys.offered } });
        let reply = self.daemon.change_store(Method::PUT, &path, Some(&body)).await?;
        self.show_inventory(&reply)
    }

    async fn remove_store(&self, args: &ConfirmArgs) -> Result<bool, CommandError> {
        let Some(store) = self.resolve_store(&args.store).await? else { return Ok(false) };
        let question = format!("Remove store {store}? Its directory and images stay.");
        if !args.yes && !confirm(&question)? {
            return Ok(false);
        }
        let path = format!("{}/{store}", self.any_store_path);
        let reply = self.daemon.change_store(Method::DELETE, &path, None).await?;
        self.show_reply("remove", RequestEffect::Possible, &reply, |body| {
            let text = format!("store {store} is removed; its directory and images stay\n");
            body.as_object().filter(|fields| fields.is_empty()).map(|_| text)
        })
    }

    async fn check_health(&self) -> Result<bool, CommandError> {
        let reply =
            self.daemon.send_request_within(HEALTHCHECK_TIMEOUT, Method::GET, "/readyz").await?;
        let is_ready = reply.body.get("ready").and_then(Value::as_bool);
        if reply.status.is_success() && is_ready != Some(true) {
            return Err(self.daemon.unexpected_response("healthcheck", RequestEffect::None).into());
        }
        print_json(&reply.body)?;
        Ok(reply.status.is_success())
    }

    fn show_inventory(&self, reply: &DaemonResponse) -> Result<bool, CommandError> {
        self.show_reply("the command", RequestEffect::Possible, reply, |body| {
            inventory(body).map(output::format_inventory)
        })
    }

    /// Shows a response on stdout. An error goes to stderr, or with `--json` to stdout. Returns
    /// true if the request succeeded. A reader of stdout that is gone changes nothing, because the
    /// exit status still shows the result. `as_text` returns `None` for a body that the daemon does
    /// not send.
    fn show_reply(
        &self,
        request: &str,
        effect: RequestEffect,
        reply: &DaemonResponse,
        as_text: impl FnOnce(&Value) -> Option<String>,
    ) -> Result<bool, CommandError> {
        if !reply.status.is_success() {
            match self.as_json {
                true => drop(print_json(&reply.body)?),
                false => report_text(&output::format_failure(&reply.body)),
            }
            return Ok(false);
        }
        let text = as_text(&reply.body).filter(|_| reply.status == StatusCode::OK);
        let text = text.ok_or_else(|| self.daemon.unexpected_response(request, effect))?;
        match self.as_json {
            true => drop(print_json(&reply.body)?),
            false => drop(print_text(&text)?),
        }
        Ok(true)
    }
}

/// Returns the inventory of a response, or `None` if it has none of a store.
fn inventory(body: &Value) -> Option<&Value> {
    body.get("inventory").filter(|store| store.get("uuid").is_some_and(Value::is_string))
}

/// Returns the inventories of a response, or `None` if it is no list of stores.
fn inventory_list(body: &Value) -> Option<&[Value]> {
    let list = body.get("inventories")?.as_array()?;
    let is_store = |store: &Value| store.get("uuid").is_some_and(Value::is_string);
    list.iter().all(is_store).then_some(list)
}

/// Returns the stores of a list, or `None` if one of them has no uuid or no name.
fn listed_stores(body: &Value) -> Option<Vec<ListedStore>> {
    let listed = |store: &Value| {
        let (uuid, name) = (store.get("uuid")?.as_str()?, store.get("name")?.as_str()?);
        Some(ListedStore { uuid: uuid.parse().ok()?, name: name.to_owned() })
    };
    inventory_list(body)?.iter().map(listed).collect()
}

/// Prompts for a confirmation on stderr and reads it from stdin. Returns true only for `y`, `Y` or
/// `yes`.
fn confirm(question: &str) -> Result<bool, CommandError> {
    prompt_text(&format!("{question} [y/N] "))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(CommandError::Answer)?;
    let yes = matches!(answer.trim(), "y" | "Y" | "yes");
    if !yes {
        report_line("nothing was changed (--yes skips this question)");
    }
    Ok(yes)
}
