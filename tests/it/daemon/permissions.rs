//! A daemon that is not root, like the packaged one: its missing permissions, and the remedies.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};

use crate::support::agent::{Agent, NOBODY, callback, store};
use crate::support::failures::{expect_failure, root_cause, tree};
use crate::support::filesystems::MountedFs;
use crate::support::management_node::ManagementNode;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

const HOURLY_PROBES: &str = "[monitor]\ninterval = \"1h\"\n";
const FOLDER: &str = ".imagestore-agent";

/// Lets every user reach the mount point, which lies in a folder of the test.
fn reachable(disk: &MountedFs) {
    for path in [disk.path().parent().unwrap(), &disk.path()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn init(agent: &Agent, dir: &Path) {
    let made = agent.cli(&["init", dir.to_str().unwrap()], "");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn remedy(reply: &imagestore_agent::cli::DaemonResponse) -> &str {
    root_cause(reply)["elaboration"].as_str().unwrap()
}

fn denied(path: &Path) -> Value {
    json!({"path": path, "errno": "EACCES", "uid": NOBODY, "check": "storage"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_not_the_daemons_is_refused_until_init_has_prepared_it() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    reachable(&disk);
    let dir = disk.path();
    let mut agent = Agent::installed(&dir, HOURLY_PROBES).running_as_nobody();
    agent.start();
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    assert!(status.contains(&format!("Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}")), "{status}");

    let before = tree(&dir);
    let body = store(&dir, &sshd, &user);
    let refused = agent.ask(Method::POST, "/image-store", Some(body)).await;
    let facts = expect_failure(&refused, &["permission_denied"], &denied(&dir.join(FOLDER)));
    assert_eq!(
        (&facts["owner"], &facts["group"], &facts["mode"]),
        (&json!(0), &json!(0), &json!("0755"))
    );
    let command = format!("imagestore-agent init {} ", dir.display());
    assert!(remedy(&refused).contains(&command), "{}", remedy(&refused));
    assert_eq!(tree(&dir), before);

    // The test runs the command of the remedy as root; its files belong to the owner of the state
    // directory.
    init(&agent, &dir);
    for name in [FOLDER, ".imagestore-agent/identity.json", "registry", "export"] {
        assert_eq!(fs::metadata(dir.join(name)).unwrap().uid(), NOBODY, "{name}");
    }
    let uuid = agent.add(&dir, &sshd, &user).await;
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
    let marker = fs::read(dir.join(FOLDER).join("identity.json")).unwrap();
    let marker: Value = serde_json::from_slice(&marker).unwrap();
    assert_eq!(marker["storeUuid"], uuid.as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_folder_or_marker_is_taken_from_the_daemon_is_mended_by_init() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    reachable(&disk);
    let dir = disk.path();
    let mut node = ManagementNode::answering([]).await;
    let mut agent = Agent::installed(&dir, &format!("{HOURLY_PROBES}{}", callback(&node.url())))
        .running_as_nobody();
    agent.start();
    init(&agent, &dir);
    let uuid = agent.add(&dir, &sshd, &user).await;
    let folder = dir.join(FOLDER);
    let marker = folder.join("identity.json");
    let node_id = fs::read_to_string(agent.path("state/node-id")).unwrap();
    let probe = folder.join(format!("probe.{}", node_id.trim_end()));
    let content = fs::read(&marker).unwrap();
    chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
    // As after a restore from a backup by root.
    type Damage<'a> = (&'a str, &'a Path, &'a str, &'a dyn Fn());
    let damages: [Damage<'_>; 2] = [
        ("create", &probe, "0755", &|| chown(&folder, Some(0), Some(0)).unwrap()),
        ("read the marker", &marker, "0600", &|| {
            chown(&marker, Some(0), Some(0)).unwrap();
            fs::set_permissions(&marker, fs::Permissions::from_mode(0o600)).unwrap();
        }),
    ];
    for (step, path, mode, damage) in damages {
        damage();
        // Root's folder is readable for all and not writable.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let reply = agent.reconnect(&uuid).await;
        let facts = expect_failure(&reply, &["permission_denied"], &denied(path));
        assert_eq!(facts["step"], step);
        // The facts name the folder that denied access; the directory around it belongs to the
        // daemon.
        assert_eq!((&facts["owner"], &facts["mode"]), (&json!(0), &json!(mode)));
        let command = format!("imagestore-agent init {} ", dir.display());
        assert!(remedy(&reply).contains(&command), "{}", remedy(&reply));
        assert_eq!(fs::read(&marker).unwrap(), content);
        assert_eq!(agent.inventory(&uuid).await["status"], "Disconnected");
        // `init` gives away nothing that it has not made, and names the command that does.
        let refused = agent.cli(&["init", dir.to_str().unwrap()], "");
        let taken = if step == "create" { &folder } else { &marker };
        let command = format!("run chown {NOBODY}:{NOBODY} {}, else", taken.display());
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && text.contains(&command), "{text}");
        assert_eq!(fs::metadata(taken).unwrap().uid(), 0);
        chown(taken, Some(NOBODY), Some(NOBODY)).unwrap();
        init(&agent, &dir);
        let again = agent.reconnect(&uuid).await;
        assert_eq!(again.status, 200, "{}", again.body);
        assert_eq!(fs::read(&marker).unwrap(), content, "init writes no second marker");
    }
    let mut drops = 0;
    while drops < 2 {
        let event = node.next().await;
        let reason = &event.json["data"]["reason"]["cause"]["opaque"]["reason"];
        drops += u32::from(reason == "permission_denied");
    }
}
