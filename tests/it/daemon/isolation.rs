//! A store that hangs slows only itself: not the probes and responses of another store, not a stop,
//! not a start.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::hung_servers::{NOISE, folder, slowest};
use crate::support::agent::Agent;
use crate::support::filesystems::{MountedFs, UnservedMount};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, Sshd, User};
use crate::support::wait::until;

const PROBE_EVERY_SECOND: &str = "[monitor]\ninterval = \"1s\"\nprobe_deadline = \"1s\"\n";

/// A store on a disk whose writers sleep in the kernel, and one on a healthy disk.
struct Scene {
    agent: Agent,
    hung_disk: MountedFs,
    healthy_disk: MountedFs,
    stuck: String,
    fine: String,
    sshd: Sshd,
    _user: User,
}

impl Scene {
    async fn set() -> Self {
        // With strictatime each read of the marker is visible, one for each probe.
        let (hung_disk, healthy_disk) =
            (MountedFs::of("ext4"), MountedFs::tmpfs("size=4m,strictatime"));
        let (sshd, user) = (Builder::new().start(), User::create());
        let mut agent = Agent::installed(&hung_disk.path(), PROBE_EVERY_SECOND);
        let one = format!("[{:?}]", hung_disk.path());
        let both = format!("[{:?}, {:?}]", hung_disk.path(), healthy_disk.path());
        agent.configure(&agent.settings().replace(&one, &both));
        agent.start();
        let stuck = agent.add(&hung_disk.path(), &sshd, &user).await;
        let fine = agent.add(&healthy_disk.path(), &sshd, &user).await;
        Self { agent, hung_disk, healthy_disk, stuck, fine, sshd, _user: user }
    }

    /// Freezes the disk and waits until a worker sleeps on it. Returns its process id.
    async fn hang(&self) -> i64 {
        self.hung_disk.freeze("-f");
        self.stuck_worker().await
    }

    /// Reconnects the hung store and returns the worker that the fault names.
    async fn stuck_worker(&self) -> i64 {
        let reply = self.agent.reconnect(&self.stuck).await;
        let root = &reply.body["error"]["cause"]["opaque"];
        assert_eq!(root["reason"], "probe_stuck", "{}", reply.body);
        root["pid"].as_i64().unwrap()
    }

    fn marker(&self) -> PathBuf {
        self.healthy_disk.path().join(".imagestore-agent/identity.json")
    }

    /// Measures this number of probes of the healthy store.
    async fn probes(&self, count: u32) -> Duration {
        let read = || {
            let marker = std::fs::metadata(self.marker()).unwrap();
            (marker.atime(), marker.atime_nsec())
        };
        let mut last = read();
        let mut begun = None;
        for _ in 0..=count {
            until("a probe", async || read() != last).await;
            last = read();
            begun.get_or_insert_with(Instant::now);
        }
        begun.unwrap().elapsed()
    }

    /// Returns the median time of this number of requests to the healthy store.
    async fn median(&self, count: usize, method: Method, action: &str) -> Duration {
        let path = format!("/image-store/{}{action}", self.fine);
        let mut times = Vec::new();
        for _ in 0..count {
            let begun = Instant::now();
            let body = (method == Method::PUT).then(|| json!({"params": {}}));
            let reply = self.agent.ask(method.clone(), &path, body).await;
            times.push(begun.elapsed());
            assert_eq!(reply.status, 200, "{}", reply.body);
        }
        times.sort_unstable();
        times[count / 2]
    }

    async fn measured(&self) -> [(&'static str, Duration); 3] {
        [
            ("probes", self.probes(4).await),
            ("GET", self.median(40, Method::GET, "").await),
            ("PUT", self.median(12, Method::PUT, "/actions").await),
        ]
    }
}

/// Returns the state of a process, as `ps` shows it.
fn state(pid: i64) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn sleeps(pid: i64) -> bool {
    state(pid) == Some('D')
}

async fn until_gone(pid: i64) {
    // A worker whose parent has ended may wait forever to be reaped.
    until("the worker gone", async || matches!(state(pid), None | Some('Z'))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_store_slows_no_probe_and_no_answer_of_another() {
    needs_root!();
    let scene = Scene::set().await;
    let before = scene.measured().await;
    let worker = scene.hang().await;
    let beside = scene.measured().await;
    assert!(sleeps(worker), "the disk did not hang");
    let again = scene.stuck_worker().await;
    scene.hung_disk.freeze("-u");
    assert_eq!(again, worker, "a second worker was started");
    let (probes, answers) = (before[0].1, &before[1..]);
    // Four periods; a probe that waited for the hung store each time would double them.
    let most = probes * 3 / 2 + Duration::from_secs(1);
    assert!(beside[0].1 < most, "{probes:?} before, {:?} beside a hung store", beside[0].1);
    for ((what, before), (_, beside)) in answers.iter().zip(&beside[1..]) {
        // The limits are ratios within one run plus noise of this machine; a wait for the hung
        // store takes a second.
        let most = *before * 5 + Duration::from_millis(100);
        assert!(*beside < most, "{what}: {before:?} before, {beside:?} beside a hung store");
    }
    until_gone(worker).await;
    assert_eq!(scene.agent.reconnect(&scene.stuck).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_store_holds_neither_a_stop_nor_the_port_of_the_next_start() {
    needs_root!();
    let mut scene = Scene::set().await;
    let address = scene.agent.address();
    let fixed = scene.agent.settings().replace("127.0.0.1:0", &address.to_string());
    scene.agent.configure(&fixed);
    let worker = scene.hang().await;
    for kill in [false, true] {
        if kill {
            scene.agent.kill();
        } else {
            let (status, took) = scene.agent.terminate();
            assert!(status.success() && took < Duration::from_secs(10), "{status} {took:?}");
        }
        assert!(sleeps(worker), "it outlives the daemon");
        let begun = Instant::now();
        scene.agent.start();
        let ready = scene.agent.http().send_request(Method::GET, "/readyz", None).await.unwrap();
        let took = begun.elapsed();
        assert_eq!((ready.status.as_u16(), scene.agent.address()), (200, address));
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert!(sleeps(worker), "it still sleeps");
        assert_eq!(scene.stuck_worker().await, worker, "the start knows it");
        assert_eq!(scene.agent.reconnect(&scene.fine).await.status, 200);
    }
    assert!(scene.sshd.accepted_logins() >= 4);
    scene.hung_disk.freeze("-u");
    until_gone(worker).await;
    assert_eq!(scene.agent.reconnect(&scene.stuck).await.status, 200);
}

/// Stores on one disk that hangs: more than the workers that they share, and the logins that one
/// server permits.
const HUNG_STORES: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnects_of_stores_on_a_hung_disk_delay_no_login_on_their_server() {
    needs_root!();
    let (disk, user) = (MountedFs::tmpfs("size=64m"), User::create());
    let sshd = Builder::new().start();
    let more = "[monitor]\ninterval = \"1s\"\nprobe_deadline = \"5s\"\nfail_after = 1\n";
    let mut agent = Agent::installed(&disk.path(), more);
    agent.start();
    let fine = agent.add(&folder(&disk, "fine"), &sshd, &user).await;
    let hung_disk = folder(&disk, "hung");
    let mut hung = Vec::new();
    for n in 0..HUNG_STORES {
        let dir = folder(&disk, &format!("hung/{n}"));
        hung.push(agent.add(&dir, &sshd, &user).await);
    }
    let without = slowest(&agent, &fine).await;

    let mount = UnservedMount::over(&hung_disk);
    for store in &hung {
        let has_hung = async || agent.inventory(store).await["status"] == "Disconnected";
        until("a probe that hung", has_hung).await;
    }
    let mut callers = JoinSet::new();
    for store in hung {
        let daemon = agent.http();
        let path = format!("/zstack/v1/backup-storage/image-store/{store}/actions");
        let body = json!({"params": {}});
        callers.spawn(async move { daemon.send_request(Method::PUT, &path, Some(&body)).await });
    }
    let with = slowest(&agent, &fine).await;
    while callers.try_join_next().is_some() {}
    assert!(!callers.is_empty(), "the other reconnects ended too early");
    callers.abort_all();
    drop(mount);
    assert!(with < without + NOISE, "{with:?} beside {without:?}");
}
