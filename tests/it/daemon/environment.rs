//! Odd environments of the process: each start works, or ends with a sentence that names the cause.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::agent::{Agent, TEST_TIMEOUT, store};
use crate::support::failures::root_cause;
use crate::support::filesystems::MountedFs;
use crate::support::processes::descriptors;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

fn installed() -> Agent {
    Agent::installed(Path::new("/var/lib/imagestore"), "")
}

/// Requires that the daemon starts behind the wrapper, answers a command, and stops cleanly.
fn expect_served(wrapper: &[&str]) {
    let mut agent = installed();
    assert!(agent.start_under(wrapper), "{wrapper:?}: {}", agent.log());
    let listed = agent.cli(&["list"], "");
    assert!(listed.status.success(), "{wrapper:?}: {}", String::from_utf8_lossy(&listed.stderr));
    assert!(agent.terminate().0.success(), "{wrapper:?}");
}

#[test]
fn odd_variables_masks_names_and_folders_do_not_matter() {
    let shell = |script: &'static str| ["sh", "-c", script, "sh"];
    expect_served(&["env", "-i"]);
    expect_served(&["env", "-u", "HOME", "LANG=xx_YY.none", "LC_ALL=\u{7f}", "TZ=/none", "PATH="]);
    expect_served(&shell("umask 0777; exec \"$@\""));
    expect_served(&shell("umask 0; exec \"$@\""));
    expect_served(&["bash", "-c", "exec -a '' \"$@\"", "bash"]);
    expect_served(&shell("dir=$(mktemp -d); cd $dir; rmdir $dir; exec \"$@\""));
}

#[test]
fn a_mask_gives_no_file_of_the_daemon_away() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut agent = installed();
    assert!(agent.start_under(&["sh", "-c", "umask 0; exec \"$@\"", "sh"]));
    let mode = |name: &str| fs::metadata(agent.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("state"), 0o750);
    assert_eq!(mode("state/agent.sock"), 0o660);
    for name in ["state/ledger.sqlite", "state/master-key", "state/node-id", "state/lock"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}

#[test]
fn the_clock_may_be_before_1980_or_far_ahead() {
    let library = super::clock::library();
    for time in ["@1970-01-02 00:00:00", "@2099-01-01 00:00:00"] {
        let preload = format!("LD_PRELOAD={}", library.display());
        let time = format!("FAKETIME={time}");
        expect_served(&["env", &preload, &time, "DONT_FAKE_MONOTONIC=1"]);
    }
}

/// Standard descriptors that are closed at the start are not reused by sockets or files.
#[tokio::test]
async fn closed_standard_descriptors_are_not_reused() {
    for closed in ["0<&-", "1>&-", "0<&- 1>&-"] {
        let mut agent = installed();
        assert!(agent.start_under(&["sh", "-c", &format!("exec \"$@\" {closed}"), "sh"]));
        for fd in 0..=2 {
            let target = fs::read_link(format!("/proc/{}/fd/{fd}", agent.pid())).unwrap();
            let target = target.to_str().unwrap();
            assert!(target == "/dev/null" || target.starts_with("pipe:"), "{closed} {fd} {target}");
        }
        assert!(descriptors(agent.pid()) > 3);
        assert!(agent.terminate().0.success());
    }
    // Without stderr there is no log to wait for.
    let mut agent = installed();
    agent.launch(&["sh", "-c", "exec \"$@\" 0<&- 1>&- 2>&-", "sh"]);
    let served = async {
        while !agent.cli(&["healthcheck"], "").status.success() {
            assert!(!agent.has_ended());
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, served).await.expect("the daemon does not serve");
    for fd in 0..=2 {
        let target = fs::read_link(format!("/proc/{}/fd/{fd}", agent.pid())).unwrap();
        assert_eq!(target, Path::new("/dev/null"));
    }
    assert!(agent.terminate().0.success());
}

#[test]
fn too_few_descriptors_for_a_start_are_named_with_the_limit() {
    for limit in [8, 10, 12, 13, 14] {
        let mut agent = installed();
        let limit = format!("--nofile={limit}:{limit}");
        assert!(!agent.start_under(&["prlimit", &limit]), "{limit} is enough");
        let log = agent.log();
        let line = log.lines().find(|line| line.contains("start failed"));
        let line: Value = serde_json::from_str(line.expect(&log)).unwrap();
        assert!(line["error"].as_str().unwrap().contains("Too many open files"), "{line}");
        assert!(line["remedy"].as_str().unwrap().contains("LimitNOFILE="), "{line}");
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_without_the_null_device_or_proc_names_what_is_missing() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    for (hidden, problem, remedy) in [
        ("/dev", "/dev/null does not exist", "mknod -m 666 /dev/null c 1 3"),
        ("/proc", "/proc/self/exe does not exist", "mount -t proc proc /proc"),
    ] {
        let mut agent = Agent::installed(&disk.path(), "");
        let script = format!("mount -t tmpfs none {hidden} && exec \"$@\"");
        assert!(agent.start_under(&["unshare", "-m", "sh", "-c", &script, "sh"]));
        let body = store(&disk.path(), &sshd, &user);
        let reply = agent.ask(hyper::Method::POST, "/image-store", Some(body)).await;
        let cause = root_cause(&reply);
        assert_eq!(cause["opaque"]["reason"], "agent_busy", "{}", reply.body);
        assert!(cause["details"].as_str().unwrap().contains(problem), "{}", reply.body);
        let text = cause["elaboration"].as_str().unwrap();
        assert!(text.contains(remedy) && !text.contains("limits"), "{}", reply.body);
        assert!(agent.terminate().0.success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hidden_processes_and_a_read_only_tmp_hinder_nothing() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), "");
    // The installation is below /tmp, and stays writable.
    let dir = agent.path("");
    let script = format!(
        "mount --bind {0} {0} && mount --rbind /tmp /tmp && mount -o remount,bind,ro /tmp; \
         mount -t proc -o hidepid=2 proc /proc && exec \"$@\"",
        dir.display()
    );
    assert!(agent.start_under(&["unshare", "-m", "sh", "-c", &script, "sh"]), "{}", agent.log());
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
    assert!(agent.terminate().0.success());
}
