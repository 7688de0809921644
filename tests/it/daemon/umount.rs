//! Nothing of the daemon stays on an image directory between probes, so that an operator's plain
//! `umount` succeeds, and the store is back by itself after the `mount`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyper::Method;
use imagestore_agent::cli::DaemonAddress;
use tokio::runtime::Builder;
use tokio::time::{Instant, interval};

use crate::support::agent::{Agent, TEST_TIMEOUT};
use crate::support::filesystems::MountedFs;
use crate::support::requirements::needs_root;
use crate::support::sshd::{self, User};
use crate::support::wait::until;

/// Probes come once a second, so that a hundred rounds on one disk would take two minutes: four disks
/// at a time take half of one.
const DISKS: usize = 4;
const ROUNDS: usize = 25;
/// On a machine that does nothing else one retry is enough.
const TRIES: usize = 10;
const PROBE_EVERY_SECOND: &str = "[monitor]\ninterval = \"1s\"\n";

/// Whether a child of the daemon has this directory, or something in it, open now.
fn is_held(daemon: u32, dir: &Path) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{daemon}/task")) else { return false };
    let children = threads.filter_map(|thread| {
        // What has ended meanwhile holds nothing.
        fs::read_to_string(thread.ok()?.path().join("children")).ok()
    });
    let children: Vec<String> = children.collect();
    children.iter().flat_map(|line| line.split_whitespace()).any(|child| {
        let Ok(open) = fs::read_dir(format!("/proc/{child}/fd")) else { return false };
        open.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).any(|to| to.starts_with(dir))
    })
}

/// When the marker was read last: each probe reads it.
fn read_at(dir: &Path) -> (i64, i64) {
    let marker = fs::metadata(dir.join(".imagestore-agent/identity.json")).unwrap();
    (marker.atime(), marker.atime_nsec())
}

/// Waits for a probe of what is mounted there, in one round to be over and in the next to run.
async fn probed(daemon: u32, dir: &Path, to_be_over: bool) {
    let before = read_at(dir);
    let deadline = Instant::now() + TEST_TIMEOUT;
    // A probe takes some milliseconds.
    let mut looks = interval(Duration::from_millis(1));
    while read_at(dir) == before && (to_be_over || !is_held(daemon, dir)) {
        assert!(Instant::now() < deadline, "no probe");
        looks.tick().await;
    }
    while to_be_over && is_held(daemon, dir) {
        looks.tick().await;
    }
}

/// The rounds on one disk; how often the first `umount` was refused.
async fn rounds(pid: u32, daemon: DaemonAddress, uuid: String, disk: MountedFs) -> usize {
    let mut refused = 0;
    for round in 0..ROUNDS {
        // A probe that meets the disk while it is away disconnects the store, and good ones begin an
        // attempt, a probe more. Then the next probe is the monitor's, and is alone.
        until("Connected", async || is_connected(&daemon, &uuid).await).await;
        disk.remount("strictatime");
        probed(pid, &disk.path(), round % 2 == 0).await;
        // The next probe may come before a slow machine has started `umount`; what stays on the disk
        // between probes would refuse it for ever.
        let mut auth_attempts = 0;
        while !disk.try_unmount() {
            refused += 1;
            auth_attempts += 1;
            assert!(auth_attempts < TRIES, "round {round}: something stays on the disk");
            until("the probe over", async || !is_held(pid, &disk.path())).await;
        }
        assert!(fs::read_dir(disk.path()).unwrap().next().is_none(), "written below the mount");
        disk.mount();
    }
    until("Connected", async || is_connected(&daemon, &uuid).await).await;
    refused
}

async fn is_connected(daemon: &DaemonAddress, uuid: &str) -> bool {
    let path = format!("/zstack/v1/backup-storage/image-store/{uuid}");
    let reply = daemon.send_request(Method::GET, &path, None).await.unwrap();
    reply.body["inventories"][0]["status"] == "Connected"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_unmounts_a_hundred_times_and_every_store_ends_connected() {
    needs_root!();
    let (sshd, user) = (sshd::Builder::new().start(), User::create());
    let disks: Vec<MountedFs> = (0..DISKS).map(|_| MountedFs::of("ext4")).collect();
    let mut agent = Agent::installed(Path::new("/var/lib/imagestore"), PROBE_EVERY_SECOND);
    let roots: Vec<String> = disks.iter().map(|disk| format!("{:?}", disk.path())).collect();
    let roots = agent.settings().replace("\"/var/lib/imagestore\"", &roots.join(", "));
    agent.configure(&roots);
    agent.start();
    let mut work = Vec::new();
    for disk in disks {
        let uuid = agent.add(&disk.path(), &sshd, &user).await;
        let (pid, http) = (agent.pid(), agent.http());
        // A thread each: one that waits for `umount` must not miss what another one is to see.
        work.push(thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(rounds(pid, http, uuid, disk))
        }));
    }
    // All of them, so that each disk is unmounted also when one fails.
    let ended: Vec<_> = work.into_iter().map(JoinHandle::join).collect();
    let refused: usize = ended.into_iter().map(Result::unwrap).sum();
    println!("{refused} refused beside a probe at work, of {} rounds", DISKS * ROUNDS);
}
