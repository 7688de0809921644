//! A state disk that refuses writes: no effect and no response leaves before its commit, and
//! nothing that was answered is lost.

use std::io::Write as _;
use std::path::Path;

use hyper::Method;
use rusqlite::Connection;
use serde_json::json;

use crate::support::agent::{Agent, TOKEN, callback};
use crate::support::event_order::EventOrder;
use crate::support::filesystems::MountedFs;
use crate::support::http_server::{HttpRequest, HttpResponse, exchange};
use crate::support::ledger_snapshot::LedgerReader;
use crate::support::management_node::ManagementNode;
use crate::support::requirements::{needs_root, run};
use crate::support::sshd::{Builder, Sshd, User};
use crate::support::wait::until;

/// No probe of the monitor makes a commit.
const HOURLY_PROBES: &str = "[monitor]\ninterval = \"1h\"\n";
const CONNECTION: &str = "Connection from ";
const LEDGER_REFUSED: &str = "ledger commit failed";

struct Scene {
    agent: Agent,
    node: ManagementNode,
    sshd: Sshd,
    uuid: String,
    _disk: MountedFs,
    _user: User,
}

impl Scene {
    /// Starts a daemon with a Connected store whose first notice is delivered. The state lies in
    /// this directory, or in the default one.
    async fn set(state: Option<&Path>) -> Self {
        let (disk, sshd, user) =
            (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
        let mut node = ManagementNode::answering([]).await;
        let mut agent =
            Agent::installed(&disk.path(), &format!("{HOURLY_PROBES}{}", callback(&node.url())));
        if let Some(state) = state {
            let old = format!("dir = {:?}", agent.path("state"));
            agent.configure(&agent.settings().replace(&old, &format!("dir = {state:?}")));
        }
        agent.start();
        let uuid = agent.add(&disk.path(), &sshd, &user).await;
        assert_eq!(node.next().await.seq(), 1);
        Self { agent, node, sshd, uuid, _disk: disk, _user: user }
    }

    /// Sends the documented reconnect and returns the response with its headers.
    async fn reconnect(&self) -> HttpResponse {
        let line = format!("PUT /zstack/v1/backup-storage/image-store/{}/actions", self.uuid);
        let request =
            HttpRequest { token: Some(TOKEN), ..HttpRequest::new(&line, "{\"params\":{}}") };
        let stream = tokio::net::TcpStream::connect(self.agent.address()).await.unwrap();
        exchange(stream, &request.bytes()).await
    }

    async fn status(&self) -> String {
        self.agent.inventory(&self.uuid).await["status"].as_str().unwrap().to_owned()
    }
}

fn is_state_disk_trouble(answer: &HttpResponse) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.error("/cause/opaque/reason"), "state_disk_trouble");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
}

/// Adds a trigger to the database that makes commits of records fail, if they match `such`.
fn refuse(ledger: &Path, such: &str) -> Connection {
    let connection = Connection::open(ledger).unwrap();
    let body = "BEGIN SELECT RAISE(ABORT, 'refused by a test'); END";
    let sql = format!("CREATE TRIGGER refuse BEFORE INSERT ON standings WHEN {such} {body}");
    connection.execute_batch(&sql).unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconnect_that_cannot_be_recorded_is_not_begun() {
    needs_root!();
    let mut scene = Scene::set(None).await;
    assert_eq!(scene.sshd.logged(CONNECTION), 1);
    let ledger = refuse(&scene.agent.path("state/ledger.sqlite"), "1");
    for _ in 0..3 {
        is_state_disk_trouble(&scene.reconnect().await);
        assert_eq!(scene.status().await, "Connected");
    }
    ledger.execute_batch("DROP TRIGGER refuse").unwrap();
    assert_eq!(scene.reconnect().await.status, 200);
    scene.sshd.until_logged(CONNECTION, 2);
    assert_eq!(
        scene.sshd.logged(CONNECTION),
        2,
        "expected one connection for the add and one for the reconnect"
    );
    for (seq, status) in [(2, "Connecting"), (3, "Connected")] {
        let event = scene.node.next().await;
        assert_eq!((event.seq(), &event.json["data"]["newStatus"]), (seq, &json!(status)));
    }
    assert!(scene.node.try_next().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_that_cannot_be_recorded_is_not_sent_until_it_is() {
    needs_root!();
    let mut scene = Scene::set(None).await;
    let connected = "NEW.standing ->> 'status' = 'Connected'";
    let ledger = refuse(&scene.agent.path("state/ledger.sqlite"), connected);
    is_state_disk_trouble(&scene.reconnect().await);
    assert_eq!(scene.node.next().await.seq(), 2);
    // The daemon tries again and fails again.
    scene.agent.until_logged(LEDGER_REFUSED);
    scene.agent.until_logged(LEDGER_REFUSED);
    assert_eq!(scene.status().await, "Connecting");
    assert!(scene.node.try_next().is_none(), "an event was sent before its commit");
    ledger.execute_batch("DROP TRIGGER refuse").unwrap();
    let event = scene.node.next().await;
    assert_eq!((event.seq(), &event.json["data"]["newStatus"]), (3, &json!("Connected")));
    assert_eq!(scene.status().await, "Connected");
    assert_eq!(scene.sshd.logged(CONNECTION), 2, "the checks ran again");
    // Exactly once: the next positions belong to the next reconnect.
    assert_eq!(scene.reconnect().await.status, 200);
    for (seq, status) in [(4, "Connecting"), (5, "Connected")] {
        let event = scene.node.next().await;
        assert_eq!((event.seq(), &event.json["data"]["newStatus"]), (seq, &json!(status)));
    }
}

/// Fills the space that is left.
fn fill(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("ballast");
    let mut file = std::fs::File::create(&path).unwrap();
    // Down to the last byte: a smaller write may still fit where a page does not.
    for piece in [4096, 1] {
        while file.write_all(&vec![0; piece]).is_ok() {}
    }
    path
}

async fn obstacles(agent: &Agent) -> (u16, String) {
    let reply = agent.http().send_request(Method::GET, "/readyz", None).await.unwrap();
    (reply.status.as_u16(), reply.body["reasons"].to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_state_disk_is_reported_and_loses_nothing() {
    needs_root!();
    let state = MountedFs::tmpfs("size=8m");
    let mut scene = Scene::set(Some(&state.path())).await;
    assert_eq!(obstacles(&scene.agent).await.0, 200);
    // A notice is in the outbox when the disk fills.
    scene.node.stop().await;
    assert_eq!(scene.reconnect().await.status, 200);
    let ballast = fill(&state.path());
    is_state_disk_trouble(&scene.reconnect().await);
    assert_eq!(scene.status().await, "Connected");
    until("not ready", async || obstacles(&scene.agent).await.0 == 503).await;
    assert!(obstacles(&scene.agent).await.1.contains("state_disk_trouble"));
    // The daemon continues to deliver, although the ledger cannot record the acknowledgement.
    scene.node.restart().await;
    let mut order = EventOrder::default();
    for seq in [2, 3] {
        let received = scene.node.next().await;
        assert_eq!(received.seq(), seq);
        order.record(&received);
    }
    is_state_disk_trouble(&scene.reconnect().await);

    std::fs::remove_file(ballast).unwrap();
    until("ready", async || obstacles(&scene.agent).await.0 == 200).await;
    let ledger = Connection::open(state.path().join("ledger.sqlite")).unwrap();
    let waiting = async || {
        let sql = "SELECT count(*) FROM outbox";
        ledger.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap()
    };
    until("drained", async || waiting().await == 0).await;
    assert_eq!(scene.reconnect().await.status, 200);
    scene.agent.kill();
    scene.agent.start();
    assert_eq!(scene.status().await, "Connected");
    until("drained", async || waiting().await == 0).await;
    while let Some(received) = scene.node.try_next() {
        order.record(&received);
    }
    assert_eq!(order.last_status(&scene.uuid), Some("Connected"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_killed_on_a_full_state_disk_serves_statuses_again() {
    needs_root!();
    for state in [MountedFs::tmpfs("size=8m"), MountedFs::of("ext4")] {
        let mut scene = Scene::set(Some(&state.path().join("state"))).await;
        // The log has contents that are not in the database.
        assert_eq!(scene.reconnect().await.status, 200);
        let ballast = fill(&state.path());
        for _ in 0..2 {
            scene.agent.kill();
            scene.agent.start();
            assert_eq!(scene.status().await, "Connected");
        }
        std::fs::remove_file(ballast).unwrap();
        until("ready", async || obstacles(&scene.agent).await.0 == 200).await;
        assert_eq!(scene.reconnect().await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_a_full_state_disk_prevents_names_the_remedy() {
    needs_root!();
    let state = MountedFs::tmpfs("size=8m");
    let mut scene = Scene::set(Some(&state.path().join("state"))).await;
    assert!(scene.agent.terminate().0.success());
    // The log does not exist now, and its space belongs to another file.
    let ballast = fill(&state.path());
    let output = scene.agent.run_serve_to_end();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(70), "{stderr}");
    assert!(stderr.contains("cannot open the ledger") && stderr.contains("free"), "{stderr}");
    assert!(stderr.contains("the disk of state.dir"), "{stderr}");
    std::fs::remove_file(ballast).unwrap();
    scene.agent.start();
    assert_eq!(scene.status().await, "Connected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_disk_that_hangs_holds_no_caller_and_what_was_handed_over_is_seen_through() {
    needs_root!();
    let state = MountedFs::of("ext4");
    let mut scene = Scene::set(Some(&state.path().join("state"))).await;
    let frozen = state.frozen();
    let answer = scene.reconnect().await;
    is_state_disk_trouble(&answer);
    let details = answer.error("/cause/details").as_str().unwrap();
    assert!(details.contains("may take effect"), "{details}");
    // Read-only requests are served as before.
    assert_eq!(scene.status().await, "Connected");
    assert_eq!(scene.sshd.logged(CONNECTION), 1, "no attempt before its commit");
    drop(frozen);
    // The requested attempt is recorded now, and runs.
    let mut events = Vec::new();
    while events.len() < 2 {
        let next = scene.node.next().await;
        events.push((next.seq(), next.json["data"]["newStatus"].as_str().unwrap().to_owned()));
    }
    assert_eq!(events, [(2, "Connecting".to_owned()), (3, "Connected".to_owned())]);
    let connected = async || scene.status().await == "Connected";
    until("the store is Connected", connected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_directory_that_is_not_the_opened_one_takes_no_change() {
    needs_root!();
    type Damage = fn(&Path);
    fn cut(file: &Path, part: u64) {
        let length = std::fs::metadata(file).unwrap().len();
        std::fs::File::options().write(true).open(file).unwrap().set_len(length / part).unwrap();
    }
    let damages: [(&str, Damage); 10] = [
        ("state is missing", |dir| std::fs::remove_dir_all(dir).unwrap()),
        ("state is another file or directory now", |dir| {
            std::fs::remove_dir_all(dir).unwrap();
            std::fs::create_dir(dir).unwrap();
        }),
        ("lock is missing", |dir| std::fs::remove_file(dir.join("lock")).unwrap()),
        ("ledger.sqlite is missing", |dir| {
            std::fs::remove_file(dir.join("ledger.sqlite")).unwrap();
        }),
        ("ledger.sqlite is another file or directory now", |dir| {
            // As a restore of a backup does it, without a stop.
            std::fs::copy(dir.join("ledger.sqlite"), dir.join("copy")).unwrap();
            std::fs::rename(dir.join("copy"), dir.join("ledger.sqlite")).unwrap();
        }),
        ("ledger.sqlite-wal is missing", |dir| {
            std::fs::remove_file(dir.join("ledger.sqlite-wal")).unwrap();
        }),
        // The file stays, but another program has cut it off or written over it.
        ("ledger.sqlite-wal, and the ledger on the disk is damaged", |dir| {
            cut(&dir.join("ledger.sqlite-wal"), u64::MAX);
        }),
        ("ledger.sqlite-wal, and the ledger on the disk is damaged", |dir| {
            cut(&dir.join("ledger.sqlite-wal"), 2);
        }),
        (
            "ledger.sqlite, and the ledger on the disk is damaged: the database file is empty",
            |dir| {
                cut(&dir.join("ledger.sqlite"), u64::MAX);
            },
        ),
        ("ledger.sqlite, and the ledger on the disk is damaged", |dir| {
            let length = std::fs::metadata(dir.join("ledger.sqlite")).unwrap().len();
            let noise = vec![b'x'; usize::try_from(length).unwrap()];
            std::fs::write(dir.join("ledger.sqlite"), noise).unwrap();
        }),
    ];
    for (change, damage) in damages {
        let mut scene = Scene::set(None).await;
        // A damage within a commit cannot be distinguished from the commit.
        let uuid = scene.uuid.clone();
        LedgerReader::of(&scene.agent).until_all_delivered(&[uuid]).await;
        assert_eq!(scene.status().await, "Connected");
        damage(&scene.agent.path("state"));
        let answer = scene.reconnect().await;
        is_state_disk_trouble(&answer);
        let details = answer.error("/cause/details").as_str().unwrap();
        assert!(details.contains(change), "{change}: {details}");
        let remedy = answer.error("/cause/elaboration").as_str().unwrap();
        assert!(remedy.contains("state.dir"), "{remedy}");
        assert_eq!(scene.status().await, "Connected", "{change}");
        // A check in the middle of the damage found only a part of it.
        let is_named = async || {
            let (status, reasons) = obstacles(&scene.agent).await;
            status == 503 && reasons.contains("state_disk_trouble") && reasons.contains(change)
        };
        until("not ready, with the reason", is_named).await;
        assert!(scene.node.try_next().is_none(), "{change}: an event without its commit");
    }
}

/// Each program here uses SQLite, or changes nothing that counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_others_have_written_to_without_harm_takes_changes() {
    needs_root!();
    let mut scene = Scene::set(None).await;
    let path = scene.agent.path("state/ledger.sqlite");
    let sqlite = |sql: &'static str| {
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(sql).unwrap();
    };
    let mut seq = 1;
    let steps: [&dyn Fn(); 5] = [
        &|| sqlite("PRAGMA wal_checkpoint(TRUNCATE)"),
        &|| sqlite("VACUUM"),
        &|| sqlite("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)"),
        &|| sqlite("CREATE INDEX of_an_operator ON stores (uuid)"),
        &|| drop(run("touch", &[path.to_str().unwrap()])),
    ];
    for step in steps {
        step();
        assert_eq!(scene.reconnect().await.status, 200);
        for _ in 0..2 {
            seq += 1;
            assert_eq!(scene.node.next().await.seq(), seq);
        }
        assert_eq!(obstacles(&scene.agent).await.0, 200);
    }
    scene.agent.kill();
    scene.agent.start();
    assert_eq!(scene.status().await, "Connected");
}

/// A ledger that is put back is verified, and used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_put_back_in_place_is_used_again() {
    needs_root!();
    let scene = Scene::set(None).await;
    let log = scene.agent.path("state/ledger.sqlite-wal");
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, b"").unwrap();
    is_state_disk_trouble(&scene.reconnect().await);
    std::fs::write(&log, bytes).unwrap();
    assert_eq!(scene.reconnect().await.status, 200);
    until("ready", async || obstacles(&scene.agent).await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_directory_that_comes_back_is_used_again() {
    needs_root!();
    let scene = Scene::set(None).await;
    let (dir, aside) = (scene.agent.path("state"), scene.agent.path("aside"));
    std::fs::rename(&dir, &aside).unwrap();
    is_state_disk_trouble(&scene.reconnect().await);
    // A second daemon may start there, but it cannot take the address, and the first one makes no
    // change meanwhile.
    let address = format!("\"{}\"", scene.agent.address());
    let settings = scene.agent.settings();
    scene.agent.configure(&settings.replace("\"127.0.0.1:0\"", &address));
    assert_eq!(scene.agent.run_serve_to_end().status.code(), Some(69));
    is_state_disk_trouble(&scene.reconnect().await);
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::rename(&aside, &dir).unwrap();
    assert_eq!(scene.reconnect().await.status, 200);
    until("ready", async || obstacles(&scene.agent).await.0 == 200).await;

    // Another filesystem at the same path.
    let path = dir.to_str().unwrap();
    run("mount", &["-t", "tmpfs", "none", path]);
    let answer = scene.reconnect().await;
    until("not ready", async || obstacles(&scene.agent).await.0 == 503).await;
    run("umount", &[path]);
    is_state_disk_trouble(&answer);
    assert_eq!(scene.reconnect().await.status, 200);
}
