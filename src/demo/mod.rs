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
use std::pin::pin;
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
use crate::common::{Random as _, SystemRandom};
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
    #[error("{0}")]
    Told(String),
}

fn demo_error(error: impl std::fmt::Display) -> DemoError {
    DemoError::Told(error.to_string())
}

/// Runs the demo and returns its exit status. `once` ends it after the first reconnect.
pub fn run_demo(once: bool) -> ExitStatus {
    match run_in_runtime(once) {
        Ok(exit) => exit,
        Err(broken) => {
            eprintln!("the demo broke off: {broken}");
            ExitStatus::Failed
        }
    }
}

fn random_text() -> String {
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
    let _listening = stop_at_signals(&stop)?;
    let scratch = TempDir::new(&random_text())?;
    println!("all of this happens in {} and on 127.0.0.1\n", scratch.path().display());

    let account = DemoAccount { user: "demo".to_owned(), password: Secret::new(random_text()) };
    let ssh = SshEndpoint::start(account.clone(), random_seed()).await?;
    println!("ssh endpoint      {}  host key {}", ssh.address, ssh.fingerprint);

    let secret = format!("whsec_{}", BASE64.encode(&random_seed()[..]));
    let node =
        ManagementNode::start(EventSigner::parse_secrets(&secret).map_err(demo_error)?).await?;
    println!("management node   {}  checks every signature", node.address);

    let token = random_text();
    let settings = demo_settings(&scratch, &node, &secret, &token)?;
    let images = scratch.create_folder("images")?;
    let files = StartupFiles::read_files(&settings).map_err(demo_error)?;
    let prepared = PreparedDaemon::new(settings, files, InheritedSockets::default(), None)
        .map_err(demo_error)?;
    let address = *prepared.addresses().first().ok_or_else(|| demo_error("it listens nowhere"))?;
    println!("imagestore-agent  {address}  on the real ledger, with a worker for each probe\n");

    let (_reload, reloads) = mpsc::channel(1);
    let daemon = async {
        let exit = prepared.run_daemon(None, stop.clone(), reloads).await;
        // If the daemon exits early, the steps must end too.
        stop.cancel();
        exit
    };
    let story = async {
        let asker = DaemonAddress::at_url(&format!("http://{address}"), Some(Secret::new(token)));
        let asker = asker.map_err(demo_error)?;
        let (heard, events) = (watch::Sender::new(0), node.events);
        let seen = heard.subscribe();
        let mut hearing = pin!(print_events(events, heard));
        tokio::select! {
            broken = &mut hearing => return Err(broken),
            () = stop.cancelled() => return Err(demo_error("it was stopped before the end")),
            told = run_steps(asker, &account, &ssh, &images, seen) => told?,
        }
        if !once {
            println!("\nserving until Ctrl-C");
            tokio::select! {
                broken = hearing => return Err(broken),
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    };
    let ended = async {
        let told = story.await;
        stop.cancel();
        told
    };
    match tokio::join!(daemon, ended) {
        (ExitStatus::Ok, told) => told.map(|()| ExitStatus::Ok),
        (exit, _) => {
            eprintln!("the daemon broke off");
            Ok(exit)
        }
    }
}

fn demo_settings(
    scratch: &TempDir,
    node: &ManagementNode,
    secret: &str,
    token: &str,
) -> Result<Settings, DemoError> {
    let mut settings = Settings::built_in();
    settings.server.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    settings.state.dir = scratch.path().join("state");
    settings.server.socket = scratch.path().join("agent.sock");
    settings.storage.allowed_roots = vec![scratch.path().join("images").display().to_string()];
    settings.storage.allow_root_disk = true;
    settings.callback.urls = vec![format!("http://{}/events", node.address)];
    settings.callback.start_spread = Duration::ZERO;
    settings.callback.signing_secret_file = Some(scratch.create_file("signing-secret", secret)?);
    let hash = HEXLOWER.encode(digest(&SHA256, token.as_bytes()).as_ref());
    settings.auth.tokens_file =
        Some(scratch.create_file("tokens", &format!("demo:{hash}:admin\n"))?);
    Ok(settings)
}

/// Adds a store, calls the documented operation, and waits for each transition.
async fn run_steps(
    asker: DaemonAddress,
    account: &DemoAccount,
    ssh: &SshEndpoint,
    images: &Path,
    mut heard: watch::Receiver<usize>,
) -> Result<(), DemoError> {
    const STORES_PATH: &str = "/zstack/v1/backup-storage/image-store";
    let mut body = json!({"params": {
        "name": "demo", "url": images.display().to_string(), "hostname": "127.0.0.1",
        "sshPort": ssh.address.port(), "username": account.user, "password": "***",
    }});
    show_request("POST", STORES_PATH, &body);
    if let Some(password) = body.pointer_mut("/params/password") {
        *password = Value::from(account.password.expose_secret());
    }
    let added =
        asker.send_request(Method::POST, STORES_PATH, Some(&body)).await.map_err(demo_error)?;
    let uuid = print_response(&added)?;

    let path = format!("{STORES_PATH}/{uuid}/actions");
    let body = json!({"params": {"systemTags": [], "userTags": ["demo::first"]}});
    show_request("PUT", &path, &body);
    let reconnected =
        asker.send_request(Method::PUT, &path, Some(&body)).await.map_err(demo_error)?;
    print_response(&reconnected)?;

    let all = timeout(STEP_TIMEOUT, heard.wait_for(|heard| *heard >= EXPECTED_TRANSITIONS)).await;
    all.map_err(|_| demo_error("a callback did not arrive"))?.map_err(demo_error)?;
    Ok(())
}

/// Prints each callback as it arrives and counts the events. Returns an error at the first wrong
/// signature, or when the management node has stopped.
async fn print_events(
    mut events: mpsc::Receiver<ReceivedEvent>,
    heard: watch::Sender<usize>,
) -> DemoError {
    while let Some(received) = events.recv().await {
        let kind = received.event.get("type").and_then(Value::as_str);
        let beats = kind == Some("backup-storage.heartbeat");
        let signed = if beats { show_heartbeat(&received) } else { show_event(&received) };
        if !signed {
            return demo_error("a callback was not signed as it should be");
        }
        heard.send_modify(|heard| *heard += usize::from(!beats));
    }
    demo_error("the management node ended")
}

fn show_heartbeat(received: &ReceivedEvent) -> bool {
    let stores =
        received.event.pointer("/data/stores").and_then(Value::as_array).map_or(0, Vec::len);
    let good = received.signature_good;
    println!("heartbeat of {stores} stores, signature {}", if good { "good" } else { "WRONG" });
    good
}

fn show_request(method: &str, path: &str, body: &Value) {
    println!("> {method} {path}\n> Authorization: OAuth ***\n> {body}");
}

/// Prints a response and returns the uuid of its store.
fn print_response(reply: &DaemonResponse) -> Result<String, DemoError> {
    let mut text = format!("< {}\n", reply.status);
    let pretty = serde_json::to_string_pretty(&reply.body).unwrap_or_default();
    for line in pretty.lines() {
        let _ = writeln!(text, "< {line}");
    }
    println!("{text}");
    let uuid = reply.body.pointer("/inventory/uuid").and_then(Value::as_str);
    match uuid.filter(|_| reply.status.is_success()) {
        Some(uuid) => Ok(uuid.to_owned()),
        None => Err(demo_error("the store is not connected")),
    }
}

/// Prints one event. Returns true if its signature is valid.
fn show_event(received: &ReceivedEvent) -> bool {
    let field = |key: &str| received.event.get("data").and_then(|data| data.get(key));
    let word = |key: &str| field(key).and_then(Value::as_str).unwrap_or("?");
    let number = |key: &str| field(key).and_then(Value::as_u64).unwrap_or(0);
    let signature = if received.signature_good { "signature good" } else { "BAD SIGNATURE" };
    println!(
        "callback  {:<12} -> {:<12}  attempt {}  position {}.{}  {signature}",
        word("oldStatus"),
        word("newStatus"),
        number("attempt"),
        number("epoch"),
        number("seq"),
    );
    received.signature_good
}
