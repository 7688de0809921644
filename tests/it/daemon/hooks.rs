//! Web hooks of the real daemon: restarts, kills, signatures, and a state disk that hangs.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use imagestore_agent::management::EventSigner;
use imagestore_agent::model::StoreUuid;
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::jobs::{poll, result};
use crate::support::agent::{Agent, TEST_TIMEOUT, TOKEN, callback};
use crate::support::filesystems::MountedFs;
use crate::support::http_server::{HttpRequest, HttpResponse, exchange, read_answer};
use crate::support::ledger_snapshot::{count_rows, open_read_only};
use crate::support::management_node::{Answer, ManagementNode, Received};
use crate::support::requirements::needs_root;
use crate::support::secret_files::write_secret;
use crate::support::silent_receiver::{Silence, SilentReceiver};
use crate::support::sshd::{Builder, Sshd, User};
use crate::support::wait::until;

/// No probe of the monitor makes a commit or a login.
const QUIET: &str = "[monitor]\ninterval = \"1h\"\nauto_reconnect = false\n";
const QUICK: &str = "[api]\nanswer_within = \"1s\"\n";
const RECONNECT: &str = r#"{"reconnectImageStoreBackupStorage":{}}"#;
const ALLOW: &str = "agent_allow = [\"127.0.0.0/8\"]\n";
/// A word of the URL of each web hook.
const KEY: &str = "invented-capability";
/// The reply of a receiver that repeats the path.
const ECHO: &str = "Cannot POST /hook?key=invented-capability";

fn job(n: u128) -> String {
    StoreUuid::from_u128(n).to_string()
}

fn actions(store: &str) -> String {
    format!("PUT /zstack/v1/backup-storage/image-store/{store}/actions")
}

fn hook_of(receiver: &ManagementNode) -> String {
    receiver.url_of(&format!("/hook?key={KEY}"))
}

/// Installs a daemon that calls web hooks on loopback.
fn installed(disk: &MountedFs, more: &str) -> Agent {
    let agent = Agent::installed(&disk.path(), &format!("{QUIET}{more}"));
    agent.configure(&agent.settings().replace("[server]\n", &format!("[server]\n{ALLOW}")));
    agent
}

/// Sends a reconnect with this web hook.
async fn call(agent: &Agent, store: &str, job: &str, hook: &str) -> HttpResponse {
    let stream = TcpStream::connect(agent.address()).await.unwrap();
    exchange(stream, &request(store, job, hook)).await
}

fn request(store: &str, job: &str, hook: &str) -> Vec<u8> {
    let headers = format!("X-Job-UUID: {job}\r\nX-Web-Hook: {hook}\r\n");
    let line = actions(store);
    let request =
        HttpRequest { token: Some(TOKEN), headers: &headers, ..HttpRequest::new(&line, RECONNECT) };
    request.bytes()
}

/// Sends a call that fails without a login, and is therefore answered with 202.
async fn failed_call(agent: &Agent, job: &str, hook: &str) {
    let answer = call(agent, &"f".repeat(32), job, hook).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

async fn until_nothing_is_owed(agent: &Agent) {
    let owed = async || count_rows(agent, "SELECT count(*) FROM hooks") == 0;
    until("no result is owed", owed).await;
}

async fn assert_result(agent: &Agent, received: &Received, job: &str) {
    assert_eq!((received.header("x-job-uuid"), received.id()), (job, job));
    let polled = poll(agent, job).await;
    let success = (polled.status == 200).to_string();
    assert_eq!(received.header("x-job-success"), success);
    assert_eq!(received.json, polled.body);
}

/// A daemon with a store whose server a test can freeze.
struct Scene {
    agent: Agent,
    sshd: Sshd,
    store: String,
    receiver: ManagementNode,
    _user: User,
    _disk: MountedFs,
}

impl Scene {
    async fn set(more: &str) -> Self {
        let (disk, sshd, user) =
            (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
        let mut agent = installed(&disk, more);
        agent.start();
        let store = agent.add(&disk.path(), &sshd, &user).await;
        let receiver = ManagementNode::answering([]).await;
        Self { agent, sshd, store, receiver, _user: user, _disk: disk }
    }

    async fn call(&self, job: &str) -> HttpResponse {
        call(&self.agent, &self.store, job, &hook_of(&self.receiver)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_is_owed_until_its_receiver_is_back_also_across_restarts() {
    needs_root!();
    let disk = MountedFs::tmpfs("size=4m");
    let mut agent = installed(&disk, "");
    agent.start();
    let mut receiver = ManagementNode::answering([]).await;
    for (n, restart) in [(1, "none"), (2, "SIGTERM"), (3, "SIGKILL")] {
        receiver.stop().await;
        failed_call(&agent, &job(n), &hook_of(&receiver)).await;
        let line = agent.until_logged("web hook not delivered");
        assert!(line.contains(r#""destination":"127.0.0.1:"#), "{line}");
        match restart {
            "SIGTERM" => assert!(agent.terminate().0.success()),
            "SIGKILL" => agent.kill(),
            _ => {}
        }
        if restart != "none" {
            agent.start();
        }
        receiver.restart().await;
        assert_result(&agent, &receiver.next().await, &job(n)).await;
        until_nothing_is_owed(&agent).await;
        assert!(receiver.try_next().is_none(), "{restart}");
    }
    // A receiver that repeats the request in its reply.
    receiver.set_script(|_| Answer::Full(404, ("x-a", "b".to_owned()), ECHO));
    failed_call(&agent, &job(5), &hook_of(&receiver)).await;
    let line = agent.until_logged("web hook given up");
    assert!(line.contains("status 404") && line.contains(r#""given_up":1"#), "{line}");
    let log = agent.log();
    for n in [1, 2, 3, 5] {
        assert!(!log.contains(&job(n)), "a uuid of a job is in the log");
    }
    assert!(!log.contains(KEY), "a URL is in the log");
    failed_call(&agent, &job(4), "http://127.0.0.1:1/?key=invented-capability").await;
    for file in std::fs::read_dir(agent.path("state")).unwrap() {
        let file = file.unwrap().path();
        if file.is_file() {
            let bytes = std::fs::read(&file).unwrap();
            let found = bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes());
            assert!(!found, "{}", file.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_a_kill_interrupts_ends_with_its_web_hook() {
    needs_root!();
    let mut scene = Scene::set(QUICK).await;
    // A job that ends after its caller was referred to it.
    scene.sshd.freeze();
    assert_eq!(scene.call(&job(2)).await.status, 202);
    scene.sshd.thaw();
    let received = scene.receiver.next().await;
    assert_result(&scene.agent, &received, &job(2)).await;
    assert_eq!(received.json["inventory"]["status"], "Connected");
    // The next start ends the job, and makes a new attempt.
    scene.sshd.freeze();
    assert_eq!(scene.call(&job(1)).await.status, 202);
    scene.agent.kill();
    scene.sshd.thaw();
    scene.agent.start();
    let received = scene.receiver.next().await;
    assert_result(&scene.agent, &received, &job(1)).await;
    let reason = &received.json["error"]["cause"]["opaque"]["reason"];
    assert_eq!(reason, "interrupted_by_restart");
    until_nothing_is_owed(&scene.agent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_post_is_not_reported_as_given_up_while_its_result_is_owed_again() {
    needs_root!();
    let disk = MountedFs::tmpfs("size=4m");
    let mut agent = installed(&disk, "");
    agent.start();
    // The first post is rejected after a later response has made its result owed again.
    let rejects = Arc::new(Semaphore::new(0));
    let mut receiver =
        ManagementNode::answering([Answer::AfterPermit(404, Arc::clone(&rejects))]).await;
    let hook = hook_of(&receiver);
    failed_call(&agent, &job(1), &hook).await;
    receiver.next().await;
    failed_call(&agent, &job(1), &hook).await;
    rejects.add_permits(1);
    assert_result(&agent, &receiver.next().await, &job(1)).await;
    until_nothing_is_owed(&agent).await;
    let log = agent.log();
    assert!(!log.contains("web hook given up"), "{log}");
}

const SUMMARY: &str = "GET /imagestore/stores";
/// Number of the results of one caller that the daemon keeps.
const KEPT_RESULTS: u128 = 5000;

/// Ends `count` jobs whose results nobody fetches, over some connections at once.
async fn end_jobs(agent: &Agent, first: u128, count: u128) {
    const CONNECTIONS: u128 = 8;
    let mut clients = JoinSet::new();
    for connection in 0..CONNECTIONS.min(count) {
        let jobs = (first..first + count).filter(move |job| job % CONNECTIONS == connection);
        let line = actions(&"f".repeat(32));
        let requests: Vec<Vec<u8>> = jobs
            .map(|n| {
                let headers = format!("X-Job-UUID: {}\r\n", job(n));
                let headers = headers.as_str();
                HttpRequest { token: Some(TOKEN), headers, ..HttpRequest::new(&line, RECONNECT) }
                    .bytes()
            })
            .collect();
        let stream = TcpStream::connect(agent.address()).await.unwrap();
        clients.spawn(async move {
            let (reader, mut writer) = stream.into_split();
            let mut reader = BufReader::new(reader);
            let bytes = requests.concat();
            let reading = async {
                for _ in &requests {
                    assert_eq!(read_answer(&mut reader).await.status, 202);
                }
            };
            let (written, ()) = tokio::join!(writer.write_all(&bytes), reading);
            written.unwrap();
        });
    }
    clients.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_job_under_the_uuid_of_a_dropped_one_gets_neither_its_result_nor_its_url() {
    needs_root!();
    let disk = MountedFs::tmpfs("size=4m");
    let mut agent = installed(&disk, "");
    agent.start();
    // The receiver of the first job holds each post until its timeout of 10 s.
    let (posted, mut posts) = unbounded_channel();
    let silent = ManagementNode::scripted(move |received| {
        posted.send(received.header("x-job-uuid").to_owned()).unwrap();
        Answer::Never
    })
    .await;
    failed_call(&agent, &job(1), &hook_of(&silent)).await;
    end_jobs(&agent, 10_000, KEPT_RESULTS - 1).await;
    // A new post has begun when the next job drops the first one.
    while posts.try_recv().is_ok() {}
    assert_eq!(timeout(TEST_TIMEOUT, posts.recv()).await.unwrap().unwrap(), job(1));
    end_jobs(&agent, 20_000, 1).await;

    let mut receiver = ManagementNode::answering([]).await;
    failed_call(&agent, &job(1), &hook_of(&receiver)).await;
    let answered = Instant::now();
    let received = receiver.next().await;
    // It waited neither for the post of the first job nor for the share of its receiver.
    let delay = received.at.saturating_duration_since(answered);
    assert!(delay < Duration::from_secs(5), "{delay:?}");
    assert_result(&agent, &received, &job(1)).await;
    until_nothing_is_owed(&agent).await;
    assert!(receiver.try_next().is_none() && posts.try_recv().is_err());
    let line = agent.until_logged("web hooks dropped with their results");
    assert!(line.contains(r#""hooks":1"#), "{line}");
    let request = HttpRequest { token: Some(TOKEN), ..HttpRequest::new(SUMMARY, "") };
    let stream = TcpStream::connect(agent.address()).await.unwrap();
    let summary = exchange(stream, &request.bytes()).await;
    assert_eq!(summary.body["hooks"], json!({"givenUp": 1, "oldest": null, "pending": 0}));
    assert!(!agent.log().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_hook_is_judged_again_when_it_is_dialled() {
    needs_root!();
    let disk = MountedFs::tmpfs("size=4m");
    let mut agent = installed(&disk, "");
    agent.start();
    let mut receiver = ManagementNode::answering([]).await;
    receiver.stop().await;
    failed_call(&agent, &job(1), &hook_of(&receiver)).await;
    agent.until_logged("web hook not delivered");
    assert!(agent.terminate().0.success());
    receiver.restart().await;
    agent.configure(&agent.settings().replace("127.0.0.0/8", "192.0.2.0/24"));
    agent.start();
    let line = agent.until_logged("web hook given up");
    assert!(line.contains("is not in server.agent_allow"), "{line}");
    until_nothing_is_owed(&agent).await;
    assert!(receiver.try_next().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_is_signed_with_the_current_secrets_also_without_a_callback() {
    needs_root!();
    let disk = MountedFs::tmpfs("size=4m");
    let mut agent = installed(&disk, "");
    let file = agent.path("secrets");
    let setting = format!("{}[callback]\nsigning_secret_file = {file:?}\n", agent.settings());
    agent.configure(&setting);
    let secrets = [1, 2].map(|byte| format!("whsec_{}", BASE64.encode(&[byte; 32])));
    write_secret(&file, &secrets[0]);
    agent.start();
    let mut receiver = ManagementNode::answering([]).await;
    for (n, secret) in (1..).zip(&secrets) {
        if n > 1 {
            write_secret(&file, secret);
            agent.signal(Signal::SIGHUP);
            agent.until_logged("signing secrets reloaded");
        }
        failed_call(&agent, &job(n), &hook_of(&receiver)).await;
        let received = receiver.next().await;
        let signer = EventSigner::parse_secrets(secret).unwrap();
        let (timestamp, signature) =
            (received.header("webhook-timestamp"), received.header("webhook-signature"));
        let timestamp = timestamp.parse().unwrap();
        let is_signed =
            signer.verify_signature(received.id(), timestamp, &received.body, signature);
        assert!(is_signed, "{signature}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_receivers_of_web_hooks_do_not_delay_the_events_of_stores() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let mut agent = installed(&disk, &callback(&node.url()));
    agent.start();
    let silent = SilentReceiver::start(Silence::NeverAnswers).await;
    for n in 0..70 {
        failed_call(&agent, &job(n), &silent.url()).await;
    }
    until("the receiver has its share", async || silent.peak() > 3).await;
    let begun = Instant::now();
    let store = agent.add(&disk.path(), &sshd, &user).await;
    let event = node.next().await;
    assert_eq!(event.store(), store);
    assert!(begun.elapsed() < Duration::from_secs(8), "the event waited for a web hook");
    assert!(silent.peak() <= 8, "{}", silent.peak());
    assert!(agent.terminate().1 < Duration::from_secs(10), "the stop waited for a web hook");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_is_not_referred_to_a_job_whose_web_hook_is_not_recorded() {
    needs_root!();
    let state = MountedFs::of("ext4");
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = installed(&disk, "[api]\nanswer_within = \"3s\"\n");
    let old = format!("dir = {:?}", agent.path("state"));
    let new = format!("dir = {:?}", state.path().join("state"));
    agent.configure(&agent.settings().replace(&old, &new));
    agent.start();
    let store = agent.add(&disk.path(), &sshd, &user).await;
    let mut receiver = ManagementNode::answering([]).await;
    let hook = hook_of(&receiver);
    sshd.freeze();
    let id = job(1);
    let calling = call(&agent, &store, &id, &hook);
    let freezing = async {
        let ledger = state.path().join("state/ledger.sqlite");
        let jobs = "SELECT count(*) FROM jobs";
        let count = || open_read_only(&ledger).query_row(jobs, [], |row| row.get::<_, u32>(0));
        until("the job is recorded", async || count().unwrap() > 0).await;
        state.frozen()
    };
    let (answer, frozen) = tokio::join!(calling, freezing);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.error("/cause/opaque/reason"), "state_disk_trouble");
    let details = answer.error("/cause/details").as_str().unwrap();
    assert!(details.contains("the web hook was not recorded, and the job goes on"), "{details}");
    assert!(answer.header("retry-after").is_some());
    drop(frozen);
    let mut repeated = answer;
    until("the same call joins the job", async || {
        repeated = call(&agent, &store, &job(1), &hook).await;
        repeated.status != 503
    })
    .await;
    assert_eq!(repeated.status, 202, "{repeated:?}");
    assert!(receiver.try_next().is_none());
    sshd.thaw();
    assert_eq!(result(&agent, &job(1)).await.status, 200);
    assert_result(&agent, &receiver.next().await, &job(1)).await;
}

#[cfg(feature = "crash-points")]
mod kills {
    use super::*;

    fn restart(agent: &mut Agent) {
        agent.ended();
        agent.disarm_crash_point();
        agent.start();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_kill_between_the_result_and_its_delivery_loses_nothing() {
        needs_root!();
        let mut scene = Scene::set("").await;
        // Before the post, and between the post and its record.
        for (n, label, posts) in [(1, "hook.before", 1), (2, "hook.after", 2)] {
            scene.agent.arm_crash_point(label, 1);
            failed_call(&scene.agent, &job(n), &hook_of(&scene.receiver)).await;
            restart(&mut scene.agent);
            for _ in 0..posts {
                let received = scene.receiver.next().await;
                assert_result(&scene.agent, &received, &job(n)).await;
            }
            until_nothing_is_owed(&scene.agent).await;
            assert!(scene.receiver.try_next().is_none(), "{label}");
        }
        // The result is committed, and the caller was not referred to the job: nothing is owed.
        scene.agent.arm_crash_point("job.ended", 1);
        let hook = hook_of(&scene.receiver);
        let mut stream = TcpStream::connect(scene.agent.address()).await.unwrap();
        stream.write_all(&request(&scene.store, &job(3), &hook)).await.unwrap();
        restart(&mut scene.agent);
        assert_eq!(count_rows(&scene.agent, "SELECT count(*) FROM hooks"), 0);
        let again = scene.call(&job(3)).await;
        assert_eq!((again.status, &again.body["inventory"]["status"]), (200, &json!("Connected")));
        failed_call(&scene.agent, &job(4), &hook).await;
        assert_eq!(scene.receiver.next().await.header("x-job-uuid"), job(4));
    }
}
