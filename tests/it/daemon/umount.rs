//! The daemon holds nothing on an image directory between probes: an operator's plain `umount`
//! succeeds, and the store recovers by itself after the `mount`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyper::Method;
use tokio::runtime::Builder;
use tokio::time::{Instant, interval};

use crate::support::agent::{Agent, TEST_TIMEOUT};
use crate::support::api_description::CheckedClient;
use crate::support::filesystems::MountedFs;
use crate::support::requirements::needs_root;
use crate::support::sshd::{self, User};
use crate::support::wait::until;

/// Number of disks at a time. A probe comes once a second, so a hundred rounds on one disk would
/// take two minutes; four disks take half a minute.
const DISKS: usize = 4;
const ROUNDS: usize = 25;
/// Maximum number of tries of `umount`; on an idle machine one retry is enough.
const TRIES: usize = 10;
const PROBE_EVERY_SECOND: &str = "[monitor]\ninterval = \"1s\"\n";

/// Returns true if a child of the daemon has this directory, or a file in it, open now.
fn is_held(daemon: u32, dir: &Path) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{daemon}/task")) else { return false };
    let children = threads.filter_map(|thread| {
        // A process that has ended meanwhile holds nothing.
        fs::read_to_string(thread.ok()?.path().join("children")).ok()
    });
    let children: Vec<String> = children.collect();
    children.iter().flat_map(|line| line.split_whitespace()).any(|child| {
        let Ok(open) = fs::read_dir(format!("/proc/{child}/fd")) else { return false };
        open.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).any(|to| to.starts_with(dir))
    })
}

/// Returns the time of the last read of the marker; each probe reads it.
fn read_at(dir: &Path) -> (i64, i64) {
    let marker = fs::metadata(dir.join(".imagestore-agent/identity.json")).unwrap();
    (marker.atime(), marker.atime_nsec())
}

/// Waits for a probe of the mounted disk: in one round for its end, in the next for its start.
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

/// Runs the rounds on one disk. Returns how often the first `umount` was refused.
async fn rounds(pid: u32, daemon: CheckedClient, uuid: String, disk: MountedFs) -> usize {
    let mut refused = 0;
    for round in 0..ROUNDS {
        // A probe that meets the unmounted disk disconnects the store, and good probes start an
        // attempt with one more probe. After that the next probe is the monitor's, and no other
        // runs.
        until("Connected", async || is_connected(&daemon, &uuid).await).await;
        disk.remount("strictatime");
        probed(pid, &disk.path(), round % 2 == 0).await;
        // The next probe may start before a slow machine has started `umount`. A file that stayed
        // open between probes would block it forever.
        let mut tries = 0;
        while !disk.try_unmount() {
            refused += 1;
            tries += 1;
            assert!(tries < TRIES, "round {round}: something stays on the disk");
            until("the probe has ended", async || !is_held(pid, &disk.path())).await;
        }
        assert!(
            fs::read_dir(disk.path()).unwrap().next().is_none(),
            "a file was written below the mount"
        );
        disk.mount();
    }
    until("Connected", async || is_connected(&daemon, &uuid).await).await;
    refused
}

async fn is_connected(daemon: &CheckedClient, uuid: &str) -> bool {
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
        // One thread for each disk: one that waits for `umount` must not delay another.
        work.push(thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(rounds(pid, http, uuid, disk))
        }));
    }
    // All threads are joined, so that each disk is unmounted also if one fails.
    let ended: Vec<_> = work.into_iter().map(JoinHandle::join).collect();
    let refused: usize = ended.into_iter().map(Result::unwrap).sum();
    println!("{refused} refused beside a probe at work, of {} rounds", DISKS * ROUNDS);
}
