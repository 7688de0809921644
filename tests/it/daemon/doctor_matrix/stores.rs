//! The checks of each store, and those of its secrets and its notices.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;

use imagestore_agent::catalog::DoctorCheck;
use serde_json::json;

use super::Matrix;
use crate::support::agent::{Agent, NOBODY, callback};
use crate::support::filesystems::MountedFs;
use crate::support::management_node::{Answer, ManagementNode};
use crate::support::scripted_daemon::ScriptedDaemon;
use crate::support::sshd::{Builder, HostKeyFile, User};

/// Settings under which a small disk is not full, and a store stays Disconnected.
const SETTINGS: &str = "reserved = \"0B\"\nwrite_probe_interval = \"1s\"\n\
     [monitor]\nauto_reconnect = false\ninterval = \"1s\"\n";

/// Checks whose cause this machine does not have. The daemon decides them, and a daemon that
/// answers so shows what the program makes of it.
const SCRIPTED: [DoctorCheck; 2] = [DoctorCheck::Quota, DoctorCheck::SshProof];

pub(super) async fn run_all(matrix: &mut Matrix) {
    disk_and_login(matrix).await;
    other_user_and_name(matrix).await;
    for check in SCRIPTED {
        scripted(matrix, check);
    }
}

async fn disk_and_login(matrix: &mut Matrix) {
    use DoctorCheck as C;
    let (disk, user, node) =
        (MountedFs::of("ext4"), User::create(), ManagementNode::answering([]).await);
    let (key, other_key) = (HostKeyFile::generate("ed25519"), HostKeyFile::generate("ed25519"));
    let sshd = Builder::new().host_key(&key).start();
    let mut agent = Agent::installed(&disk.path(), &format!("{SETTINGS}{}", callback(&node.url())));
    agent.start();
    let dir = disk.path().join("images");
    fs::create_dir(&dir).unwrap();
    let uuid = agent.add(&dir, &sshd, &user).await;
    // The first write probe and the first notice take a moment.
    let of_store = [uuid.as_str(), "--wait", "60s"];
    let of_store_checks = C::ALL.iter().copied().filter(|check| check.is_of_store());
    for check in of_store_checks.filter(|check| *check != C::SshProof) {
        matrix.good(&agent, check, &of_store);
    }
    matrix.good(&agent, C::ManagementDelivered, &["--wait", "60s"]);
    let store = [uuid.as_str()];

    for (from, to, check) in [
        (dir.clone(), disk.path().join("away"), C::Directory),
        (dir.join(".imagestore-agent"), dir.join("away"), C::Identity),
    ] {
        fs::rename(&from, &to).unwrap();
        assert_eq!(agent.reconnect(&uuid).await.status, 503);
        matrix.bad(&agent, check, "error", &store);
        fs::rename(&to, &from).unwrap();
        assert_eq!(agent.reconnect(&uuid).await.status, 200);
    }

    disk.remount("ro");
    assert_eq!(agent.reconnect(&uuid).await.status, 503);
    matrix.bad(&agent, C::Write, "error", &store);
    disk.remount("rw");
    assert_eq!(agent.reconnect(&uuid).await.status, 200);

    let ballast = disk.path().join("ballast");
    std::io::copy(&mut std::io::repeat(0), &mut File::create(&ballast).unwrap()).unwrap_err();
    agent.until_condition(&uuid, "full", true).await;
    matrix.bad(&agent, C::Space, "error", &store);
    fs::remove_file(&ballast).unwrap();
    agent.until_condition(&uuid, "full", false).await;

    let many = disk.path().join("many");
    fs::create_dir(&many).unwrap();
    let mut number = 0_u32;
    while File::create(many.join(number.to_string())).is_ok() {
        number += 1;
    }
    agent.until_condition(&uuid, "inodes_full", true).await;
    matrix.bad(&agent, C::Inodes, "error", &store);
    fs::remove_dir_all(&many).unwrap();
    agent.until_condition(&uuid, "inodes_full", false).await;

    assert!(disk.try_unmount());
    assert_eq!(agent.reconnect(&uuid).await.status, 503);
    matrix.bad(&agent, C::Mount, "error", &store);
    disk.mount();
    agent.until_connects(&uuid).await;

    user.set_password("another one");
    assert_eq!(agent.reconnect(&uuid).await.status, 503);
    matrix.bad(&agent, C::SshLogin, "error", &store);
    user.set_password(&user.password);

    node.set_script(|_| Answer::Status(503));
    let port = sshd.address.port();
    drop(sshd);
    assert_eq!(agent.reconnect(&uuid).await.status, 503);
    matrix.bad(&agent, C::SshConnect, "error", &store);
    let _other = Builder::new().host_key(&other_key).port(port).start();
    assert_eq!(agent.reconnect(&uuid).await.status, 503);
    matrix.bad(&agent, C::SshHostKey, "error", &store);

    agent.until_condition(&uuid, "delivery_behind", true).await;
    matrix.bad(&agent, C::Reported, "warning", &store);
    matrix.bad(&agent, C::ManagementDelivered, "warning", &[]);

    assert!(agent.terminate().0.success());
    matrix.good(&agent, C::StateKey, &[]);
    fs::remove_file(agent.path("state/master-key")).unwrap();
    matrix.bad(&agent, C::StateKey, "warning", &[]);
}

/// A daemon of another user, and a name that only this daemon can look up.
async fn other_user_and_name(matrix: &mut Matrix) {
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    std::os::unix::fs::chown(disk.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut agent = Agent::installed(&disk.path(), SETTINGS).running_as_nobody();
    let (hosts, order) = (agent.path("hosts"), agent.path("nsswitch.conf"));
    fs::write(&hosts, "127.0.0.1 localhost store.test\n").unwrap();
    fs::write(&order, "hosts: files\n").unwrap();
    let script = format!(
        "mount --bind {hosts:?} /etc/hosts && mount --bind {order:?} /etc/nsswitch.conf && \
         exec \"$0\" \"$@\""
    );
    assert!(agent.start_under(&["unshare", "-m", "sh", "-c", &script]));
    let mut body = crate::support::agent::store(&disk.path(), &sshd, &user);
    body["params"]["hostname"] = "store.test".into();
    let reply = agent.ask(hyper::Method::POST, "/image-store", Some(body)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let uuid = reply.body["inventory"]["uuid"].as_str().unwrap().to_owned();
    // Root proves that the login reaches this node, and this user cannot.
    matrix.good(&agent, DoctorCheck::SshProof, &[&uuid, "--wait", "60s"]);

    let mode = |mode| fs::set_permissions(disk.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o000);
    assert_eq!(agent.reconnect(&uuid).await.status, 503);
    matrix.bad(&agent, DoctorCheck::Permission, "error", &[&uuid]);
    mode(0o700);
    assert_eq!(agent.reconnect(&uuid).await.status, 200);

    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    assert_eq!(agent.reconnect(&uuid).await.status, 503);
    matrix.bad(&agent, DoctorCheck::SshResolve, "error", &[&uuid]);
}

fn scripted(matrix: &mut Matrix, check: DoctorCheck) {
    let root = tempfile::tempdir().unwrap();
    let agent = Agent::installed(root.path(), "");
    let uuid = "4cd9fb914f5f4a1d8d2f000000000001";
    let store = json!({"name": "images", "uuid": uuid});
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "stores": [{"name": "images", "uuid": uuid, "status": "Disconnected",
                    "since": "2026-11-27T10:00:00Z"}],
        "checks": [{
            "id": check.as_str(), "group": "storage", "store": store, "verdict": "error",
            "summary": "the observation", "impact": "the effect",
            "remedy": {"text": "the action", "commands": []},
            "see": format!("imagestore-agent explain {check}"),
        }],
    });
    let daemon = ScriptedDaemon::answering(200, &body);
    matrix.bad(&agent, check, "error", &["--url", &daemon.url]);
}
