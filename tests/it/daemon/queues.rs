//! Full queues reject callers at once and lose no accepted request.

use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::agent::{Agent, TOKEN, store};
use crate::support::filesystems::MountedFs;
use crate::support::http_server::{HttpRequest, HttpResponse, exchange};
use crate::support::loopback::{connect_from, nth_source};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};
use crate::support::wait::until;

/// Deadlines long enough for all requests on a busy machine.
const LONG_DEADLINES: &str = "[monitor]\ninterval = \"1h\"\nprobe_deadline = \"1m\"\nattempt_deadline = \"2m\"\n\
    [ssh]\nconnect_timeout = \"1m\"\nhandshake_timeout = \"1m\"\nauth_timeout = \"1m\"\n";
const STORES: &str = "/zstack/v1/backup-storage/image-store";

/// Sends a request in a task of its own.
fn send(calls: &mut JoinSet<HttpResponse>, agent: &Agent, line: &str, body: &Value) {
    let (address, line, body) = (agent.address(), line.to_owned(), body.to_string());
    // The daemon limits the connections of one source.
    let source = nth_source(calls.len());
    calls.spawn(async move {
        let request = HttpRequest { token: Some(TOKEN), ..HttpRequest::new(&line, &body) };
        exchange(connect_from(source, address).await.unwrap(), &request.bytes()).await
    });
}

/// Checks the response of a full queue, whose deepest cause names it.
fn is_busy(answer: &HttpResponse) {
    assert_eq!(answer.status, 503, "{answer:?}");
    let mut error = &answer.body["error"];
    while error["cause"].is_object() {
        error = &error["cause"];
    }
    assert_eq!(error["opaque"]["reason"], "agent_busy", "{answer:?}");
    let after: u32 = answer.header("retry-after").expect("no Retry-After header").parse().unwrap();
    assert!(after > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_add_too_many_is_rejected_and_the_others_succeed() {
    needs_root!();
    const ADDS: usize = 32;
    let (disk, sshd, user) = (MountedFs::tmpfs("size=8m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), LONG_DEADLINES);
    agent.start();
    // While the SSH server is stopped no add can end.
    sshd.freeze();
    let mut calls = JoinSet::new();
    for n in 0..=ADDS {
        let dir = disk.path().join(n.to_string());
        std::fs::create_dir(&dir).unwrap();
        send(&mut calls, &agent, &format!("POST {STORES}"), &store(&dir, &sshd, &user));
    }
    is_busy(&calls.join_next().await.unwrap().unwrap());
    sshd.thaw();
    while let Some(answer) = calls.join_next().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let listed = agent.ask(Method::GET, "/image-store", None).await;
    assert_eq!(listed.body["inventories"].as_array().unwrap().len(), ADDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_inbox_of_a_store_rejects_callers_and_loses_no_queued_request() {
    needs_root!();
    const INBOX: usize = 256;
    // More requests than fit before the store task takes the first, which takes all queued ones
    // with it.
    const TOO_MANY: usize = 100;
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let state = MountedFs::of("ext4");
    let mut agent = Agent::installed(&disk.path(), LONG_DEADLINES);
    let old = format!("dir = {:?}", agent.path("state"));
    agent.configure(&agent.settings().replace(&old, &format!("dir = {:?}", state.path())));
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let line = format!("PUT {STORES}/{uuid}/actions");
    let body = json!({"params": {}});
    let frozen = state.frozen();
    // The store task has taken the new name, and its commit sleeps with the disk.
    let mut calls = JoinSet::new();
    let rename = json!({"updateImageStoreBackupStorage": {"name": "other"}});
    send(&mut calls, &agent, &line, &rename);
    let pid = agent.pid();
    until("the ledger thread sleeps", async || ledger_sleeps(pid)).await;
    for _ in 0..INBOX + TOO_MANY {
        send(&mut calls, &agent, &line, &body);
    }
    is_busy(&calls.join_next().await.unwrap().unwrap());
    assert_eq!(
        agent.inventory(&uuid).await["status"],
        "Connected",
        "others are answered meanwhile"
    );
    drop(frozen);
    let mut served = 0;
    while let Some(answer) = calls.join_next().await {
        let answer = answer.unwrap();
        match answer.status {
            200 => served += 1,
            _ => is_busy(&answer),
        }
    }
    assert!(served > INBOX, "an accepted request was lost: {served} served");
}

/// Returns true if the daemon's thread of this name sleeps uninterruptibly in the kernel.
fn ledger_sleeps(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.map(|thread| thread.unwrap().path().join("stat")).any(|stat| {
        let stat = std::fs::read_to_string(stat).unwrap_or_default();
        stat.contains("(ledger) D ")
    })
}
