//! An add by a daemon that lacks a process, a thread or a descriptor: it is refused before anything
//! is done, and a later add succeeds.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use hyper::Method;
use imagestore_agent::cli::DaemonResponse;

use crate::support::agent::{Agent, NOBODY, store};
use crate::support::failures::root_cause;
use crate::support::filesystems::MountedFs;
use crate::support::pids_group::PidsGroup;
use crate::support::processes::descriptors;
use crate::support::requirements::{needs_root, run};
use crate::support::sshd::{Builder, Sshd, User};

/// More than an add needs of anything: two workers, a thread for each file that is read, and the
/// descriptors of all of them.
const ENOUGH: usize = 60;

struct Scene {
    agent: Agent,
    disk: MountedFs,
    sshd: Sshd,
    user: User,
}

impl Scene {
    fn set(as_nobody: bool) -> Self {
        let (disk, sshd) = (MountedFs::tmpfs("size=4m"), Builder::new().start());
        let mut agent = Agent::installed(&disk.path(), "[monitor]\ninterval = \"1h\"\n");
        if as_nobody {
            agent = agent.running_as_nobody();
            chown(disk.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            run("chmod", &["a+rx", disk.path().parent().unwrap().to_str().unwrap()]);
        }
        agent.start();
        Self { agent, disk, sshd, user: User::create() }
    }

    async fn add(&self) -> DaemonResponse {
        let body = store(&self.disk.path(), &self.sshd, &self.user);
        self.agent.ask(Method::POST, "/image-store", Some(body)).await
    }

    fn rows(&self) -> u32 {
        let ledger = rusqlite::Connection::open(self.agent.path("state/ledger.sqlite")).unwrap();
        let sql = "SELECT (SELECT count(*) FROM stores) + (SELECT count(*) FROM secrets) \
             + (SELECT count(*) FROM history) + (SELECT count(*) FROM outbox)";
        ledger.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Checks that an add was refused for the daemon's sake, and that nothing is left.
    fn assert_refused(&self, reply: &DaemonResponse, why: &str) {
        assert_eq!(reply.status, 503, "{why}: {}", reply.body);
        assert_eq!(reply.body["error"]["code"], "SYS.1002");
        assert_eq!(root_cause(reply)["opaque"]["reason"], "agent_busy", "{why}: {}", reply.body);
        let left: Vec<PathBuf> =
            fs::read_dir(self.disk.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [""; 0].map(PathBuf::from), "{why}");
        assert_eq!(self.rows(), 0, "{why}");
    }

    /// Adds the store under one limit after the other, until one suffices.
    async fn add_under(&self, limit: impl Fn(usize)) {
        for more in 0..ENOUGH {
            limit(more);
            let reply = self.add().await;
            if reply.status == 200 {
                assert!(more > 0, "the limit limits nothing");
                return;
            }
            self.assert_refused(&reply, &format!("{more} more"));
        }
        panic!("{ENOUGH} do not suffice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_add_without_a_process_does_nothing() {
    needs_root!();
    let scene = Scene::set(true);
    let pid = scene.agent.pid().to_string();
    let limit_processes = |soft: &str| {
        let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
        let limit = ["--clear-groups", "prlimit", "--pid", &pid, soft].map(str::to_owned);
        run("setpriv", &user.into_iter().chain(limit).collect::<Vec<_>>());
    };
    limit_processes("--nproc=1:");
    for _ in 0..3 {
        let reply = scene.add().await;
        scene.assert_refused(&reply, "no process");
        let remedy = root_cause(&reply)["elaboration"].as_str().unwrap();
        assert!(remedy.contains("limits"), "{remedy}");
    }
    assert_eq!(scene.sshd.accepted_logins(), 0, "a login was made");
    limit_processes("--nproc=4096:");
    let reply = scene.add().await;
    assert_eq!(reply.status, 200, "{}", reply.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_add_in_a_full_control_group_leaves_nothing() {
    needs_root!();
    let mut scene = Scene::set(false);
    let Some(group) = PidsGroup::with_process(scene.agent.pid()) else {
        eprintln!("skipped: this machine has no pids controller");
        return;
    };
    scene.add_under(|more| group.limit_to_present_and(more)).await;
    scene.agent.kill();
    group.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_add_without_descriptors_leaves_nothing() {
    needs_root!();
    let scene = Scene::set(false);
    let pid = scene.agent.pid();
    let set = |limit: usize| {
        run("prlimit", &["--pid", &pid.to_string(), &format!("--nofile={limit}:1024")]);
    };
    // Two are left for clients.
    scene.add_under(|more| set(descriptors(pid) + 2 + more)).await;
}
