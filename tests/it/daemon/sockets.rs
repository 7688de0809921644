//! Sockets that systemd keeps: a restart under load refuses no connection and loses no request.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::agent::{Agent, TOKEN, callback};
use crate::support::event_order::EventOrder;
use crate::support::filesystems::MountedFs;
use crate::support::http_server::{HttpRequest, exchange};
use crate::support::ledger_snapshot::LedgerReader;
use crate::support::management_node::ManagementNode;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

const RESTARTS: u32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_under_load_refuses_nobody_and_loses_nothing() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let settings = format!("[monitor]\ninterval = \"1h\"\n{}", callback(&node.url()));
    let mut agent = Agent::installed(&disk.path(), &settings);
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    // The path at which the commands look for the socket.
    std::fs::create_dir(agent.path("state")).unwrap();
    let socket = agent.path("state/agent.sock");
    let unix = UnixListener::bind(&socket).unwrap();
    agent.inherited = Some((tcp, unix));
    agent.start();
    assert_eq!(agent.address(), address);
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    assert!(agent.cli(&["list"], "").status.success(), "the inherited socket is the commands'");

    let (over, looked, connected) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
        Arc::new(AtomicU32::new(0)),
    );
    let mut load = JoinSet::new();
    for _ in 0..4 {
        let (over, looked) = (Arc::clone(&over), Arc::clone(&looked));
        load.spawn(async move {
            let list = "GET /zstack/v1/backup-storage/image-store";
            while !over.load(Ordering::Relaxed) {
                // Each request has a connection of its own: a refused or broken one fails the test.
                let stream = TcpStream::connect(address).await.unwrap();
                let request = HttpRequest { token: Some(TOKEN), ..HttpRequest::new(list, "") };
                assert_eq!(exchange(stream, &request.bytes()).await.status, 200);
                looked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let line = format!("PUT /zstack/v1/backup-storage/image-store/{uuid}/actions");
    let (stop, made) = (Arc::clone(&over), Arc::clone(&connected));
    load.spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            let stream = TcpStream::connect(address).await.unwrap();
            let request =
                HttpRequest { token: Some(TOKEN), ..HttpRequest::new(&line, "{\"params\":{}}") };
            let answer = exchange(stream, &request.bytes()).await;
            match answer.status {
                200 => {
                    made.fetch_add(1, Ordering::Relaxed);
                }
                status => {
                    let reason = answer.error("/cause/opaque/reason");
                    assert_eq!((status, reason.as_str()), (503, Some("agent_stopping")));
                    assert!(answer.header("retry-after").is_some());
                }
            }
        }
    });
    for _ in 0..RESTARTS {
        let (before, made) = (looked.load(Ordering::Relaxed), connected.load(Ordering::Relaxed));
        while looked.load(Ordering::Relaxed) < before + 20
            || connected.load(Ordering::Relaxed) < made + 2
        {
            tokio::task::yield_now().await;
            assert!(
                load.try_join_next().is_none_or(|ended| ended.is_ok()),
                "a request of a caller failed"
            );
        }
        assert!(agent.terminate().0.success());
        agent.start();
    }
    over.store(true, Ordering::Relaxed);
    load.join_all().await;

    let (ledger, mut events) = (LedgerReader::of(&agent), EventOrder::default());
    let stores = [uuid];
    ledger.until_all_delivered(&stores).await;
    while let Some(received) = node.try_next() {
        events.record(&received);
    }
    let transitions = ledger.assert_matches(&events, &stores);
    println!(
        "{RESTARTS} restarts: {} requests answered, {transitions} transitions delivered",
        looked.load(Ordering::Relaxed)
    );
    // The daemon must not remove a socket of systemd.
    assert!(agent.terminate().0.success());
    assert!(std::fs::symlink_metadata(&socket).is_ok());
    assert_ne!(
        TcpStream::connect(address).await.map_err(|e| e.kind()).err(),
        Some(ErrorKind::ConnectionRefused)
    );
}
