//! SSH servers that hang: they take neither the logins nor the time of others, and a wait for a
//! permit is not blamed on a server.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyper::Method;
use imagestore_agent::cli::DaemonResponse;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::agent::Agent;
use crate::support::failures::root_cause;
use crate::support::filesystems::MountedFs;
use crate::support::non_ssh_peers::{NonSshPeer, Script};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

const STORES: usize = 60;
/// Reconnects that are measured with and without the hung server.
const RECONNECTS: usize = 15;
/// A delay that is less than a wait for a hung server or a hung disk, which takes 5 s, and more
/// than the noise of a loaded machine.
pub(super) const NOISE: Duration = Duration::from_secs(3);

pub(super) fn folder(disk: &MountedFs, name: &str) -> PathBuf {
    let folder = disk.path().join(name);
    fs::create_dir(&folder).unwrap();
    folder
}

/// Reconnects a store repeatedly, and returns the longest time that it took.
pub(super) async fn slowest(agent: &Agent, uuid: &str) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..RECONNECTS {
        let begun = Instant::now();
        let reply = agent.reconnect(uuid).await;
        longest = longest.max(begun.elapsed());
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
    longest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_stores_of_a_frozen_server_delay_no_store_of_another() {
    needs_root!();
    let (disk, user) = (MountedFs::tmpfs("size=64m"), User::create());
    let (frozen, good) = (Builder::new().start(), Builder::new().start());
    let more = "[monitor]\ninterval = \"1s\"\nssh_interval = \"10s\"\n";
    let mut agent = Agent::installed(&disk.path(), more);
    agent.start();
    let uuid = agent.add(&folder(&disk, "good"), &good, &user).await;
    let mut frozen_stores = Vec::new();
    for n in 0..STORES {
        frozen_stores.push(agent.add(&folder(&disk, &n.to_string()), &frozen, &user).await);
    }
    let without = slowest(&agent, &uuid).await;

    frozen.freeze();
    let mut callers = JoinSet::new();
    for store in frozen_stores {
        let daemon = agent.http();
        let path = format!("/zstack/v1/backup-storage/image-store/{store}/actions");
        let body = json!({"params": {}});
        callers.spawn(async move { daemon.send_request(Method::PUT, &path, Some(&body)).await });
    }
    let with = slowest(&agent, &uuid).await;
    frozen.thaw();
    callers.abort_all();
    assert!(with < without + NOISE, "{with:?} beside {without:?}");
}

/// The time of a handshake, which is less than that of an attempt, but more than half of it.
const HANDSHAKE: &str = "[monitor]\ninterval = \"1h\"\nattempt_deadline = \"5s\"\n[ssh]\n\
    handshake_timeout = \"3s\"\nauth_timeout = \"4s\"\n";

/// Returns the reason of a failed request and the milliseconds that its handshake was given.
fn given(reply: &DaemonResponse) -> (&str, u64) {
    let opaque = &root_cause(reply)["opaque"];
    let given = opaque["givenMilliseconds"].as_u64().unwrap_or_default();
    (opaque["reason"].as_str().unwrap_or_default(), given)
}

fn silent_store(dir: &Path, server: &NonSshPeer, password: &str) -> Value {
    json!({"params": {
        "name": "images", "url": dir, "hostname": "127.0.0.1", "sshPort": server.address.port(),
        "username": "anyone", "password": password,
    }})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_add_that_waited_for_a_permit_has_the_whole_time_of_its_login() {
    needs_root!();
    let disk = MountedFs::tmpfs("size=4m");
    let mut agent = Agent::installed(&disk.path(), HANDSHAKE);
    agent.start();
    let server = NonSshPeer::start(Script::Silent).await;
    let mut adds = JoinSet::new();
    let mut add = |name: &str| {
        let (daemon, dir) = (agent.http(), folder(&disk, name));
        let body = silent_store(&dir, &server, name);
        let path = "/zstack/v1/backup-storage/image-store";
        adds.spawn(
            async move { daemon.send_request(Method::POST, path, Some(&body)).await.unwrap() },
        );
    };
    // Two get the permits, the third waits for them, and the fourth waits too long.
    for name in ["a", "b", "c", "d"] {
        add(name);
    }
    let replies = adds.join_all().await;
    let mut found: Vec<_> = replies.iter().map(given).collect();
    found.sort_unstable();
    let full = ("banner_timeout", 3000);
    assert_eq!(found[1..], [full, full, full], "{found:?}");
    assert_eq!(found[0].0, "agent_busy");
    assert_eq!(server.opened(), 3);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(fs::read_dir(disk.path().join(name)).unwrap().count(), 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_waited_for_a_permit_has_the_whole_time_of_its_login() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), HANDSHAKE);
    agent.start();
    let mut stores = Vec::new();
    for name in ["a", "b", "c"] {
        stores.push(agent.add(&folder(&disk, name), &sshd, &user).await);
    }
    let server = NonSshPeer::start(Script::Silent).await;
    let mut updates = JoinSet::new();
    for uuid in stores {
        let daemon = agent.http();
        let path = format!("/zstack/v1/backup-storage/image-store/{uuid}/actions");
        let fields = json!({"sshPort": server.address.port(), "password": uuid});
        let body = json!({ "updateImageStoreBackupStorage": fields });
        updates.spawn(async move {
            daemon.send_request(Method::PUT, &path, Some(&body)).await.unwrap()
        });
    }
    let replies = updates.join_all().await;
    assert_eq!(server.opened(), 3);
    let found: Vec<_> = replies.iter().map(given).collect();
    assert_eq!(found, [("banner_timeout", 3000); 3], "{found:?}");
}
