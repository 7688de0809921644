//! Jobs of the real daemon: servers and disks that hang, restarts, and kills.

use hyper::Method;
use imagestore_agent::model::StoreUuid;
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::agent::{Agent, TOKEN, store};
use crate::support::filesystems::MountedFs;
use crate::support::http_server::{HttpRequest, HttpResponse, exchange};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, Sshd, User};
use crate::support::wait::until;

/// No probe of the monitor makes a commit or a login.
const QUIET: &str = "[monitor]\ninterval = \"1h\"\nauto_reconnect = false\n";
const CONNECTION: &str = "Connection from ";
const RECONNECT: &str = r#"{"reconnectImageStoreBackupStorage":{}}"#;
const STORES: &str = "POST /zstack/v1/backup-storage/image-store";

/// Sends a call with this id of a job.
pub(super) async fn call(agent: &Agent, job: &str, line: &str, body: &str) -> HttpResponse {
    let headers = format!("X-Job-UUID: {job}\r\n");
    let request =
        HttpRequest { token: Some(TOKEN), headers: &headers, ..HttpRequest::new(line, body) };
    let stream = TcpStream::connect(agent.address()).await.unwrap();
    exchange(stream, &request.bytes()).await
}

pub(super) async fn poll(agent: &Agent, job: &str) -> HttpResponse {
    let line = format!("GET /zstack/v1/api-jobs/{job}");
    let request = HttpRequest { token: None, ..HttpRequest::new(&line, "") };
    let stream = TcpStream::connect(agent.address()).await.unwrap();
    exchange(stream, &request.bytes()).await
}

/// Polls until the job has ended.
pub(super) async fn result(agent: &Agent, job: &str) -> HttpResponse {
    let mut polled = poll(agent, job).await;
    until("the job has ended", async || {
        if polled.status == 202 {
            polled = poll(agent, job).await;
        }
        polled.status != 202
    })
    .await;
    polled
}

fn actions(store: &str) -> String {
    format!("PUT /zstack/v1/backup-storage/image-store/{store}/actions")
}

fn job(n: u128) -> String {
    StoreUuid::from_u128(n).to_string()
}

struct Scene {
    agent: Agent,
    sshd: Sshd,
    user: User,
    store: String,
    disk: MountedFs,
}

impl Scene {
    async fn set(more: &str) -> Self {
        let (disk, sshd, user) =
            (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
        let mut agent = Agent::installed(&disk.path(), &format!("{QUIET}{more}"));
        agent.start();
        let dir = disk.path().join("one");
        std::fs::create_dir(&dir).unwrap();
        let store = agent.add(&dir, &sshd, &user).await;
        Self { agent, sshd, user, store, disk }
    }

    async fn call(&self, job: &str, body: &str) -> HttpResponse {
        call(&self.agent, job, &actions(&self.store), body).await
    }

    /// Returns the body of an add of another directory.
    fn second_add(&self) -> String {
        let dir = self.disk.path().join("two");
        std::fs::create_dir_all(&dir).unwrap();
        store(&dir, &self.sshd, &self.user).to_string()
    }

    async fn stores(&self) -> usize {
        let listed = self.agent.ask(Method::GET, "/image-store", None).await;
        listed.body["inventories"].as_array().unwrap().len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_delays_no_answer_and_the_result_follows() {
    needs_root!();
    let scene = Scene::set("[api]\nanswer_within = \"1s\"\n").await;
    scene.sshd.freeze();
    let (add, ids) = (scene.second_add(), [job(1), job(2), job(3)]);
    let (reconnect, added) =
        tokio::join!(scene.call(&ids[0], RECONNECT), call(&scene.agent, &ids[1], STORES, &add),);
    for (answer, id) in [(reconnect, &ids[0]), (added, &ids[1])] {
        assert_eq!(answer.status, 202, "{answer:?}");
        assert!(answer.body["location"].as_str().unwrap().ends_with(id.as_str()));
        assert_eq!(poll(&scene.agent, id).await.status, 202);
    }
    scene.sshd.thaw();
    for id in &ids[..2] {
        let ended = result(&scene.agent, id).await;
        let status = &ended.body["inventory"]["status"];
        assert_eq!((ended.status, status), (200, &json!("Connected")), "{ended:?}");
    }
    scene.sshd.freeze();
    let update = r#"{"updateImageStoreBackupStorage":{"password":"wrong"}}"#;
    let answer = scene.call(&ids[2], update).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(poll(&scene.agent, &ids[2]).await.status, 202);
    scene.sshd.thaw();
    let refused = result(&scene.agent, &ids[2]).await;
    assert_eq!((refused.status, refused.error("/code")), (503, &json!("BS.1500")));
    assert_eq!(scene.stores().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_a_hanging_state_disk_does_not_record_never_begins() {
    needs_root!();
    let state = MountedFs::of("ext4");
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent =
        Agent::installed(&disk.path(), &format!("{QUIET}[api]\nanswer_within = \"1s\"\n"));
    let old = format!("dir = {:?}", agent.path("state"));
    let new = format!("dir = {:?}", state.path().join("state"));
    agent.configure(&agent.settings().replace(&old, &new));
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let logins = sshd.logged(CONNECTION);
    let frozen = state.frozen();
    let answer = call(&agent, &job(1), &actions(&uuid), RECONNECT).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.error("/cause/opaque/reason"), "state_disk_trouble");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(poll(&agent, &job(1)).await.status, 404);
    // Each operation keeps the code that its failure has without a job.
    let two = disk.path().join("two");
    std::fs::create_dir(&two).unwrap();
    let (add, storage) = (store(&two, &sshd, &user).to_string(), "/zstack/v1/backup-storage");
    let state = r#"{"changeBackupStorageState":{"stateEvent":"disable"}}"#;
    let zone = "a".repeat(32);
    let (ids, calls) = (
        [job(2), job(3), job(4), job(5)],
        [
            (STORES.to_owned(), add.as_str(), "SYS.1002"),
            (format!("DELETE {storage}/{uuid}"), "", "SYS.1004"),
            (format!("PUT {storage}/{uuid}/actions"), state, "SYS.1006"),
            (format!("POST /zstack/v1/zones/{zone}/backup-storage/{uuid}"), "{}", "SYS.1006"),
        ],
    );
    for (id, (line, body, code)) in ids.iter().zip(&calls) {
        let failed = call(&agent, id, line, body).await;
        assert_eq!((failed.status, failed.error("/code")), (503, &json!(code)), "{failed:?}");
        assert!(failed.header("retry-after").is_some());
    }
    drop(frozen);
    // The uuid is free when the disk has recorded and removed the job.
    let mut repeated = answer;
    until("the same call is accepted", async || {
        repeated = call(&agent, &job(1), &actions(&uuid), RECONNECT).await;
        repeated.status != 503
    })
    .await;
    assert_eq!(repeated.status, 200, "{repeated:?}");
    assert_eq!(sshd.logged(CONNECTION), logins + 1, "the first call began an attempt");
    let inventory = agent.inventory(&uuid).await;
    assert_eq!(
        (&inventory["state"], &inventory["attachedZoneUuids"]),
        (&json!("Enabled"), &json!([]))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_and_the_request_that_it_belongs_to_survive_a_restart() {
    needs_root!();
    let mut scene = Scene::set("").await;
    let good = scene.call(&job(1), RECONNECT).await;
    assert_eq!(good.status, 200);
    let wrong = r#"{"updateImageStoreBackupStorage":{"password":"wrong"}}"#;
    assert_eq!(scene.call(&job(2), wrong).await.status, 202);
    let failed = result(&scene.agent, &job(2)).await;
    let logins = scene.sshd.logged(CONNECTION);
    for restart in ["SIGTERM", "SIGKILL"] {
        match restart {
            "SIGTERM" => assert!(scene.agent.terminate().0.success()),
            _ => scene.agent.kill(),
        }
        scene.agent.start();
        assert_eq!(poll(&scene.agent, &job(1)).await.body, good.body, "{restart}");
        let again = poll(&scene.agent, &job(2)).await;
        assert_eq!((again.status, &again.body), (503, &failed.body), "{restart}");
        let replayed = scene.call(&job(1), RECONNECT).await;
        assert_eq!((replayed.status, &replayed.body), (200, &good.body), "{restart}");
        assert_eq!(scene.call(&job(2), wrong).await.status, 202, "{restart}");
        assert_eq!(scene.call(&job(1), wrong).await.status, 400, "{restart}");
    }
    assert_eq!(scene.sshd.logged(CONNECTION), logins, "a call ran again");
    let log = scene.agent.log();
    assert!(log.contains("status changed"));
    for n in 1..=2 {
        assert!(!log.contains(&job(n)), "a uuid of a job is in the log");
    }
    // Of the request, only a keyed digest is kept.
    let files = std::fs::read_dir(scene.agent.path("state")).unwrap();
    for file in files.map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes.windows(RECONNECT.len()).any(|part| part == RECONNECT.as_bytes());
        assert!(!found, "{}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_a_job_that_its_caller_was_referred_to() {
    needs_root!();
    let mut scene = Scene::set("[api]\nanswer_within = \"1s\"\n").await;
    scene.sshd.freeze();
    assert_eq!(scene.call(&job(1), RECONNECT).await.status, 202);
    assert!(scene.agent.terminate().0.success());
    scene.sshd.thaw();
    scene.agent.start();
    let ended = result(&scene.agent, &job(1)).await;
    assert_eq!((ended.status, ended.error("/code")), (503, &json!("BS.1500")));
    assert_eq!(ended.error("/cause/opaque/reason"), "agent_stopping");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_wait_for_the_results_of_their_jobs() {
    needs_root!();
    let scene = Scene::set("[api]\nreply = \"async\"\nanswer_within = \"1s\"\n").await;
    let shown = scene.agent.cli(&["reconnect", &scene.store], "");
    assert!(shown.status.success(), "{shown:?}");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("Connected"), "{shown:?}");
    let unknown = scene.agent.cli(&["reconnect", &"f".repeat(32)], "");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&unknown.stderr).contains("no store has the uuid"),
        "{unknown:?}"
    );
}

#[cfg(feature = "crash-points")]
mod kills {
    use super::*;

    impl Scene {
        /// Sends a call that the daemon does not survive, and starts it again.
        async fn killed_call(&mut self, label: &str, job: &str, line: &str, body: &str) {
            self.agent.arm_crash_point(label, 1);
            let headers = format!("X-Job-UUID: {job}\r\n");
            let request = HttpRequest {
                token: Some(TOKEN),
                headers: &headers,
                ..HttpRequest::new(line, body)
            };
            let mut stream = TcpStream::connect(self.agent.address()).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, &request.bytes()).await.unwrap();
            self.agent.ended();
            self.agent.disarm_crash_point();
            self.agent.start();
        }
    }

    fn details(answer: &HttpResponse) -> String {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.error("/cause/opaque/reason"), "interrupted_by_restart");
        answer.error("/cause/details").as_str().unwrap().to_owned()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_job_that_a_kill_interrupts_ends_at_the_next_start_and_does_not_run_again() {
        needs_root!();
        let mut scene = Scene::set("").await;
        let (line, update) = (
            actions(&scene.store),
            json!({"updateImageStoreBackupStorage":
            {"password": scene.user.password}}),
        );
        // Before the operation began, and before its result was committed.
        for (n, label) in ["job.begun", "job.finish"].into_iter().enumerate() {
            let id = job(u128::try_from(n).unwrap());
            scene.killed_call(label, &id, &line, RECONNECT).await;
            let ended = result(&scene.agent, &id).await;
            assert!(details(&ended).contains("no change"), "{label}");
            let again = scene.call(&id, RECONNECT).await;
            assert_eq!(again.status, 202, "{label}: {again:?}");
            assert_eq!(result(&scene.agent, &id).await.body, ended.body, "{label}");
        }
        // The login was changed, and the attempt after it was not finished.
        let body = update.to_string();
        scene.killed_call("job.finish", &job(8), &line, &body).await;
        let ended = result(&scene.agent, &job(8)).await;
        assert!(details(&ended).contains("had been changed"), "{ended:?}");
        // The result was committed, but not sent.
        scene.killed_call("job.ended", &job(9), &line, RECONNECT).await;
        let ended = poll(&scene.agent, &job(9)).await;
        assert_eq!((ended.status, &ended.body["inventory"]["status"]), (200, &json!("Connected")));
        let again = scene.call(&job(9), RECONNECT).await;
        assert_eq!((again.status, again.body), (200, ended.body));
    }

    /// OkHttp sends a call again after a lost connection.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_add_that_is_sent_again_after_a_kill_adds_one_store() {
        needs_root!();
        let mut scene = Scene::set("").await;
        let add = scene.second_add();
        scene.killed_call("job.ended", &job(1), STORES, &add).await;
        let again = call(&scene.agent, &job(1), STORES, &add).await;
        assert_eq!(again.status, 200, "{again:?}");
        assert_eq!(
            again.body["inventory"]["url"],
            json!(scene.disk.path().join("two").display().to_string())
        );
        assert_eq!(scene.stores().await, 2);
        // A removal as well: its result is in the transaction that removes the store.
        let uuid = again.body["inventory"]["uuid"].as_str().unwrap();
        let line = format!("DELETE /zstack/v1/backup-storage/{uuid}");
        scene.killed_call("job.ended", &job(2), &line, "").await;
        assert_eq!(poll(&scene.agent, &job(2)).await.body, json!({}));
        assert_eq!(scene.stores().await, 1);
    }
}
