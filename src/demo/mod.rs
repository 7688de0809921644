//! Layer 11. The demo: runs the daemon's main function without installation or configuration.
//!
//! # Guarantees
//! - The daemon, its HTTP, its SSH, its SQLite and its signed callbacks are the real ones.
//! - Everything runs on loopback and in a temporary directory that is removed at the end.
//!
//! # Never
//! - It never touches a configured daemon, its state or its stores.

mod management_node;
mod ssh_endpoint;
mod temp_dir;

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use hyper::Method;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use self::management_node::{ManagementNode, ReceivedEvent};
use self::ssh_endpoint::{DemoAccount, SshEndpoint};
use self::temp_dir::TempDir;
use crate::app::{ExitStatus, PreparedDaemon, StartupFiles, stop_at_signals};
use crate::cli::{DaemonAddress, DaemonResponse};
use crate::common::{OutputReader, Random as _, SystemRandom, print_text, report_line};
use crate::http::InheritedSockets;
use crate::management::EventSigner;
use crate::model::Secret;
use crate::settings::Settings;

/// Maximum duration of the steps. It is longer than any step takes on a slow machine.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of transitions that the steps cause: one by the add and two by the reconnect.
const EXPECTED_TRANSITIONS: usize = 3;

/// Error that ended the demo early.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("cannot write the output: {0}")]
    Output(std::io::Error),
    #[error("{0}")]
    Message(String),
}

/// Prints lines. Returns an error if they cannot be written to a reader that is there.
fn print_lines(text: impl std::fmt::Display) -> Result<OutputReader, DemoError> {
    print_text(&format!("{text}\n")).map_err(DemoError::Output)
}

fn demo_error(error: impl std::fmt::Display) -> DemoError {
    DemoError::Message(error.to_string())
}

/// Runs the demo and returns its exit status. `once` ends it after the first reconnect.
pub fn run_demo(once: bool) -> ExitStatus {
    match run_in_runtime(once) {
        Ok(exit) => exit,
        Err(error) => {
            report_line(format_args!("the demo failed: {error}"));
            ExitStatus::Failed
        }
    }
}

fn random_hex() -> String {
    HEXLOWER.encode(&SystemRandom::default().bytes16())
}

fn random_seed() -> Zeroizing<[u8; 32]> {
    let random = SystemRandom::default();
    let mut bytes = Zeroizing::new([0; 32]);
    let halves = random.bytes16().into_iter().chain(random.bytes16());
    for (to, from) in bytes.iter_mut().zip(halves) {
        *to = from;
    }
    bytes
}

fn run_in_runtime(once: bool) -> Result<ExitStatus, DemoError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let exit = runtime.block_on(run_scenario(once));
    runtime.shutdown_background();
    exit
}

async fn run_scenario(once: bool) -> Result<ExitStatus, DemoError> {
    let stop = CancellationToken::new();
    // Signals are handled before the temporary directory exists, so that it is always removed.
    let _signal_tasks = stop_at_signals(&stop)?;
    let temp_dir = TempDir::new(&random_hex())?;
    let place = temp_dir.path().display();
    print_lines(format_args!("everything runs in {place} and on 127.0.0.1\n"))?;

    let account = DemoAccount { user: "demo".to_owned(), password: Secret::new(random_hex()) };
    let ssh = SshEndpoint::start(account.clone(), random_seed()).await?;
    print_lines(format_args!("ssh endpoint      {}  host key {}", ssh.address, ssh.fingerprint))?;

    let secret = format!("whsec_{}", BASE64.encode(&random_seed()[..]));
    let node =
        ManagementNode::start(EventSigner::parse_secrets(&secret).map_err(demo_error)?).await?;
    print_lines(format_args!("management node   {}  verifies every signature", node.address))?;

    let token = random_hex();
    let settings = demo_settings(&temp_dir, &node, &secret, &token)?;
    let images = temp_dir.create_dir("images")?;
    let files = StartupFiles::read_files(&settings, None).map_err(demo_error)?;
    let prepared = PreparedDaemon::new(settings, files, InheritedSockets::default(), None)
        .map_err(demo_error)?;
    let address = *prepared
        .addresses()
        .first()
        .ok_or_else(|| demo_error("the daemon listens on no TCP address"))?;
    print_lines(format_args!(
        "imagestore-agent  {address}  with the real ledger and a worker process for each probe\n"
    ))?;

    let (_reload, reloads) = mpsc::channel(1);
    let daemon = async {
        let exit = prepared.run_daemon(None, stop.clone(), reloads).await;
        // If the daemon exits early, the steps must end too.
        stop.cancel();
        exit
    };
    let scenario = async {
        let client = DaemonAddress::at_url(&format!("http://{address}"), Some(Secret::new(token)));
        let client = client.map_err(demo_error)?;
        let (event_count, mut events) = (watch::Sender::new(0), node.events);
        let event_count_receiver = event_count.subscribe();
        let print_until_error = async {
            loop {
                print_next_event(&mut events, &event_count).await?;
            }
        };
        tokio::select! {
            result = print_until_error => return result,
            () = stop.cancelled() => return Err(demo_error("the demo was stopped before its end")),
            result = run_steps(client, &account, &ssh, &images, event_count_receiver) => result?,
        }
        if once {
            return Ok(());
        }
        // Nobody can see the rest of a demo whose reader is gone, so it ends.
        let mut reader = print_lines("\nserving until Ctrl-C")?;
        while reader == OutputReader::Present {
            tokio::select! {
                result = print_next_event(&mut events, &event_count) => reader = result?,
                () = stop.cancelled() => break,
            }
        }
        Ok(())
    };
    let scenario = async {
        let result = scenario.await;
        stop.cancel();
        result
    };
    match tokio::join!(daemon, scenario) {
        (ExitStatus::Ok, result) => result.map(|()| ExitStatus::Ok),
        (exit, _) => {
            report_line("the daemon failed");
            Ok(exit)
        }
    }
}

fn demo_settings(
    temp_dir: &TempDir,
    node: &ManagementNode,
    secret: &str,
    token: &str,
) -> Result<Settings, DemoError> {
    let mut settings = Settings::built_in();
    settings.server.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    settings.state.dir = temp_dir.path().join("state");
    settings.server.socket = temp_dir.path().join("agent.sock");
    settings.storage.allowed_roots = vec![temp_dir.path().join("images").display().to_string()];
    settings.storage.allow_root_disk = true;
    settings.callback.urls = vec![format!("http://{}/events", node.address)];
    settings.callback.start_spread = Duration::ZERO;
    settings.callback.signing_secret_file = Some(temp_dir.write_file("signing-secret", secret)?);
    let hash = HEXLOWER.encode(digest(&SHA256, token.as_bytes()).as_ref());
    settings.auth.tokens_file =
        Some(temp_dir.write_file("tokens", &format!("demo:{hash}:admin\n"))?);
    Ok(settings)
}

/// Adds a store, calls the documented operation, and waits for each transition.
async fn run_steps(
    client: DaemonAddress,
    account: &DemoAccount,
    ssh: &SshEndpoint,
    images: &Path,
    mut event_count: watch::Receiver<usize>,
) -> Result<(), DemoError> {
    const STORES_PATH: &str = "/zstack/v1/backup-storage/image-store";
    let mut body = json!({"params": {
        "name": "demo", "url": images.display().to_string(), "hostname": "127.0.0.1",
        "sshPort": ssh.address.port(), "username": account.user, "password": "***",
    }});
    print_request("POST", STORES_PATH, &body)?;
    if let Some(password) = body.pointer_mut("/params/password") {
        *password = Value::from(account.password.expose_secret());
    }
    let add_reply =
        client.send_request(Method::POST, STORES_PATH, Some(&body)).await.map_err(demo_error)?;
    let uuid = print_response(&add_reply)?;

    let path = format!("{STORES_PATH}/{uuid}/actions");
    let body = json!({"params": {"systemTags": [], "userTags": ["demo::first"]}});
    print_request("PUT", &path, &body)?;
    let reconnect_reply =
        client.send_request(Method::PUT, &path, Some(&body)).await.map_err(demo_error)?;
    print_response(&reconnect_reply)?;

    let arrival =
        timeout(STEP_TIMEOUT, event_count.wait_for(|count| *count >= EXPECTED_TRANSITIONS)).await;
    arrival.map_err(|_| demo_error("a callback did not arrive in time"))?.map_err(demo_error)?;
    Ok(())
}

/// Waits for a callback, prints it and counts the events. Returns an error if its signature is
/// wrong or if the management node has stopped.
async fn print_next_event(
    events: &mut mpsc::Receiver<ReceivedEvent>,
    event_count: &watch::Sender<usize>,
) -> Result<OutputReader, DemoError> {
    let received = events.recv().await.ok_or_else(|| demo_error("the management node stopped"))?;
    let kind = received.event.get("type").and_then(Value::as_str);
    let is_heartbeat = kind == Some("backup-storage.heartbeat");
    let line = if is_heartbeat { describe_heartbeat(&received) } else { describe_event(&received) };
    let reader = print_lines(line)?;
    if !received.signature_good {
        return Err(demo_error("the signature of a callback is missing or invalid"));
    }
    event_count.send_modify(|count| *count += usize::from(!is_heartbeat));
    Ok(reader)
}

fn describe_heartbeat(received: &ReceivedEvent) -> String {
    let stores =
        received.event.pointer("/data/stores").and_then(Value::as_array).map_or(0, Vec::len);
    let signature = if received.signature_good { "good" } else { "INVALID" };
    format!("heartbeat of {stores} stores, signature {signature}")
}

fn print_request(method: &str, path: &str, body: &Value) -> Result<(), DemoError> {
    print_lines(format_args!("> {method} {path}\n> Authorization: OAuth ***\n> {body}"))?;
    Ok(())
}

/// Prints a response and returns the uuid of its store.
fn print_response(reply: &DaemonResponse) -> Result<String, DemoError> {
    let mut text = format!("< {}\n", reply.status);
    let pretty = serde_json::to_string_pretty(&reply.body).unwrap_or_default();
    for line in pretty.lines() {
        let _ = writeln!(text, "< {line}");
    }
    print_lines(text)?;
    let uuid = reply.body.pointer("/inventory/uuid").and_then(Value::as_str);
    match uuid.filter(|_| reply.status.is_success()) {
        Some(uuid) => Ok(uuid.to_owned()),
        None => Err(demo_error("the daemon did not connect the store")),
    }
}

fn describe_event(received: &ReceivedEvent) -> String {
    let field = |key: &str| received.event.get("data").and_then(|data| data.get(key));
    let word = |key: &str| field(key).and_then(Value::as_str).unwrap_or("?");
    let number = |key: &str| field(key).and_then(Value::as_u64).unwrap_or(0);
    let signature = if received.signature_good { "signature good" } else { "signature INVALID" };
    format!(
        "callback  {:<12} -> {:<12}  attempt {}  position {}.{}  {signature}",
        word("oldStatus"),
        word("newStatus"),
        number("attempt"),
        number("epoch"),
        number("seq"),
    )
}
