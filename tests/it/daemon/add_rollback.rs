//! Adds that fail after the daemon has written the marker.

use hyper::Method;

use crate::support::agent::{Agent, store};
use crate::support::filesystems::MountedFs;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_add_that_the_ledger_refuses_leaves_the_directory_as_it_was() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), "");
    agent.start();
    let ledger = rusqlite::Connection::open(agent.path("state/ledger.sqlite")).unwrap();
    let refuse =
        "CREATE TRIGGER refuse BEFORE INSERT ON stores BEGIN SELECT RAISE(ABORT, 'no'); END";
    ledger.execute_batch(refuse).unwrap();
    let body = store(&disk.path(), &sshd, &user);
    for marked in [false, true] {
        let marker = disk.path().join(".imagestore-agent/identity.json");
        let before = std::fs::read(&marker).ok();
        assert_eq!(before.is_some(), marked);
        let reply = agent.ask(Method::POST, "/image-store", Some(body.clone())).await;
        assert_eq!(reply.status, 503, "{}", reply.body);
        assert_eq!(reply.body["error"]["opaque"]["reason"], "state_disk_trouble");
        assert_eq!(std::fs::read(&marker).ok(), before, "the marker is as it was");
        let folder = disk.path().join(".imagestore-agent");
        assert_eq!(folder.exists(), marked, "the folder is as it was");
        // The second add finds the marker of `init`.
        let init = agent.cli(&["init", disk.path().to_str().unwrap()], "");
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    }
    ledger.execute_batch("DROP TRIGGER refuse").unwrap();
    agent.add(&disk.path(), &sshd, &user).await;
}
