//! The probe and the login that a caller requests: real disks, a real sshd.

use hyper::Method;
use imagestore_agent::cli::DaemonResponse;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::agent::{Agent, TOKEN};
use crate::support::filesystems::MountedFs;
use crate::support::fuse::{Behaviour, Fuse, Op};
use crate::support::health::{check, root};
use crate::support::http_server::{HttpRequest, exchange};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};
use crate::support::wait::until;

/// Settings under which the monitor makes no check of its own during a test.
const IDLE: &str = "[monitor]\ninterval = \"1h\"\nssh_interval = \"1h\"\n";

async fn request(agent: &Agent, uuid: &str, check: &str) -> DaemonResponse {
    let path = format!("/imagestore/stores/{uuid}/{check}");
    agent.http().send_request(Method::POST, &path, None).await.unwrap()
}

/// Returns true if a connection of this machine to this port is established.
fn has_connection_to(port: u16) -> bool {
    let established = format!(":{port:04X} 01 ");
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(std::fs::read_to_string);
    let mut tables = tables.into_iter().flatten();
    tables.any(|connections| connections.contains(&established))
}

/// Returns the facts of the deepest cause.
fn cause(body: &Value) -> &Value {
    let mut error = &body["error"];
    while error["cause"].is_object() {
        error = &error["cause"];
    }
    &error["opaque"]
}

#[tokio::test]
async fn a_requested_probe_sees_the_disk_as_it_is_now_once_in_an_interval() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), IDLE);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let before = agent.health(&uuid).await;
    std::fs::write(disk.path().join("image"), vec![1; 4 << 20]).unwrap();
    let probed = request(&agent, &uuid, "probe").await;
    assert_eq!(probed.status, 200, "{}", probed.body);
    let available = |health: &Value| health["capacity"]["availableCapacity"].as_u64().unwrap();
    assert!(available(&probed.body) + (4 << 20) <= available(&before), "{}", probed.body);
    let last = |health: &Value, kind| check(health, kind)["lastProbeTime"].clone();
    assert_ne!(last(&probed.body, "examine"), last(&before, "examine"));
    assert_eq!(last(&probed.body, "ssh"), last(&before, "ssh"), "a probe logs in nowhere");
    assert_eq!(last(&agent.health(&uuid).await, "examine"), last(&probed.body, "examine"));

    let line = format!("POST /imagestore/stores/{uuid}/probe");
    let again = HttpRequest { token: Some(TOKEN), ..HttpRequest::new(&line, "{}") };
    let again = exchange(TcpStream::connect(agent.address()).await.unwrap(), &again.bytes()).await;
    let wait: u64 = again.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!(again.status == 429 && (3000..=3601).contains(&wait), "{} {wait}", again.status);
    agent.until_logged("\"action\":\"probe\"");

    // A fault counts as one that the monitor found.
    let failing = disk.path().join("failing");
    std::fs::create_dir(&failing).unwrap();
    let mut second = Agent::installed(&disk.path(), IDLE);
    second.start();
    let uuid = second.add(&failing, &sshd, &user).await;
    std::fs::remove_dir_all(&failing).unwrap();
    let failed = request(&second, &uuid, "probe").await;
    assert_eq!(failed.status, 200, "{}", failed.body);
    assert_eq!(check(&failed.body, "examine")["status"], "False", "{}", failed.body);
    let reason = &check(&failed.body, "examine")["reason"];
    assert_eq!(check(&second.health(&uuid).await, "examine")["reason"], *reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_share_the_probe_of_a_disk_that_hangs_and_get_their_answer_in_time() {
    needs_root!();
    let (fuse, sshd, user) = (Fuse::mounted(), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&fuse.path(), &format!("{IDLE}probe_deadline = \"5s\"\n"));
    agent.start();
    let uuid = agent.add(&fuse.path(), &sshd, &user).await;
    fuse.set(Op::Statfs, Behaviour::Hang);
    let started = std::time::Instant::now();
    // A task of its own, because the wait for the hanging probe blocks this one.
    let (http, path) = (agent.http(), format!("/imagestore/stores/{uuid}/probe"));
    let first =
        tokio::spawn(async move { http.send_request(Method::POST, &path, None).await.unwrap() });
    tokio::task::block_in_place(|| fuse.until_hanging(1));
    let second = request(&agent, &uuid, "probe").await;
    let first = first.await.unwrap();
    // The deadline of the probe, and 2 s; three times as much for a busy machine.
    assert!(started.elapsed().as_secs() < 21, "{:?}", started.elapsed());
    // The second one was not refused, although it is the second one in the interval.
    for answer in [&first, &second] {
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_eq!(cause(&answer.body)["reason"], "probe_stuck", "{}", answer.body);
    }
    assert_eq!(request(&agent, &uuid, "probe").await.status, 429);
    let health = agent.health(&uuid).await;
    assert_eq!(check(&health, "examine")["reason"], "probe_stuck");
    assert!(health["stuckWorker"]["pid"].is_u64(), "{health}");
    fuse.release();
}

#[tokio::test]
async fn a_requested_login_leaves_the_last_one_before_a_lockout_to_attempts() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), IDLE);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let good = request(&agent, &uuid, "login").await;
    assert_eq!((good.status.as_u16(), &good.body["loginsLeft"]), (200, &json!(3)), "{}", good.body);
    sshd.until_logged("Accepted password", 2);
    user.set_password("another");

    // The first rejection disconnects the store, and the second one is recorded.
    for (left, times) in [(2, 1), (1, 2)] {
        let answer = request(&agent, &uuid, "login").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(check(&answer.body, "ssh")["reason"], "credentials_refused");
        assert_eq!(answer.body["inventory"]["status"], "Disconnected");
        assert_eq!(root(&answer.body)["reason"], "credentials_refused");
        assert_eq!(answer.body["loginsLeft"], left);
        sshd.until_logged("Failed password", times);
    }
    for _ in 0..2 {
        let refused = request(&agent, &uuid, "login").await;
        let facts = cause(&refused.body);
        assert_eq!((refused.status.as_u16(), &facts["remembered"]), (503, &json!(true)));
        assert_eq!(
            (&facts["reason"], &facts["refusedLogins"]),
            (&json!("credentials_refused"), &json!(2))
        );
        let wait = facts["retryAfterSeconds"].as_u64().unwrap();
        assert!((1..=900).contains(&wait), "{facts}");
    }
    assert_eq!(sshd.logged("Failed password"), 2);
    // An attempt makes the last one, and after that none is made.
    assert!(cause(&agent.reconnect(&uuid).await.body)["remembered"].is_null());
    assert_eq!(agent.health(&uuid).await["loginsLeft"], 0);
    assert_eq!(request(&agent, &uuid, "login").await.status, 503);
    assert_eq!(sshd.logged("Failed password"), 3);

    // A repaired account is seen while the store is Disconnected, and connects by an attempt.
    user.set_password(&user.password);
    assert!(agent.cli(&["reconnect", &uuid, "--force"], "").status.success());
    assert_eq!(request(&agent, &uuid, "login").await.body["loginsLeft"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_share_a_login_and_an_attempt_that_runs() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    // The attempt ends within the deadline of a probe, so that a caller of a probe can wait for it.
    let settings = format!("{IDLE}probe_deadline = \"20s\"\n[ssh]\nconnect_timeout = \"3s\"\n");
    let mut agent = Agent::installed(&disk.path(), &settings);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    // The server sends no identification, so that a login takes the time that it may take.
    sshd.freeze();
    let (one, two) = tokio::join!(request(&agent, &uuid, "login"), request(&agent, &uuid, "login"));
    for answer in [&one, &two] {
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(check(&answer.body, "ssh")["reason"], "banner_timeout");
        assert_eq!(answer.body["inventory"]["status"], "Connected", "one is no outage");
    }
    assert_eq!(check(&one.body, "ssh"), check(&two.body, "ssh"), "two logins were made");

    let attempt = agent.reconnect(&uuid);
    let joined = async {
        let connecting = async || agent.inventory(&uuid).await["status"] == "Connecting";
        until("the attempt runs", connecting).await;
        tokio::join!(request(&agent, &uuid, "login"), request(&agent, &uuid, "probe"))
    };
    let (attempt, (login, probe)) = tokio::join!(attempt, joined);
    assert_eq!(attempt.status, 503);
    for answer in [login, probe] {
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body["lastAttempt"]["attempt"], 2);
        assert_eq!(answer.body["inventory"]["status"], "Disconnected");
    }
    // The joined probe was none of a caller, so the next one may be requested.
    assert_eq!(request(&agent, &uuid, "probe").await.status, 200);
    sshd.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_answers_the_callers_of_a_check() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let settings = format!("{IDLE}[ssh]\nconnect_timeout = \"30s\"\n");
    let mut agent = Agent::installed(&disk.path(), &settings);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    sshd.freeze();
    let login = request(&agent, &uuid, "login");
    let removal = async {
        until("the login runs", async || has_connection_to(sshd.address.port())).await;
        agent.ask(Method::DELETE, &format!("/{uuid}"), None).await
    };
    let (login, removal) = tokio::join!(login, removal);
    assert_eq!(removal.status, 200);
    assert_eq!(login.status, 404, "{}", login.body);
    sshd.thaw();
    assert_eq!(request(&agent, &uuid, "login").await.status, 404);
}
