//! A wall clock that is set while the daemon runs: it appears in records and payloads and decides
//! nothing.

use std::fs;
use std::path::PathBuf;

use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::health::{changes, check};
use crate::support::requirements::{needs_root, run};
use crate::support::sshd::{Builder, User};

const PROBE_EVERY_SECOND: &str = "write_probe_interval = \"1s\"\n[monitor]\ninterval = \"1s\"\n";

/// The library of Debian's `faketime` that replaces the clock of a program with threads.
pub(super) fn library() -> PathBuf {
    let files = run("dpkg", &["-L", "libfaketime"]);
    let file = files.lines().find(|line| line.ends_with("/libfaketimeMT.so.1"));
    PathBuf::from(file.expect("libfaketime has no library"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_and_forth_changes_no_status() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), PROBE_EVERY_SECOND);
    let offset = agent.path("offset");
    fs::write(&offset, "+0").unwrap();
    let preload = format!("LD_PRELOAD={}", library().display());
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", offset.display());
    // Each read of the wall clock reads the offset; the monotonic clock stays as it is.
    let wrapper = ["env", &preload, &file, "FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1"];
    assert!(agent.start_under(&wrapper));
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    agent.until_probed(&uuid, 1).await;
    let probed = async |agent: &Agent| -> i64 {
        let health = agent.health(&uuid).await;
        let text = check(&health, "examine")["lastProbeTime"].as_str().unwrap().to_owned();
        text.parse::<jiff::Timestamp>().unwrap().as_second()
    };
    let mut before = probed(&agent).await;
    for (set, jump) in [("+3600", 3600), ("-3600", -7200), ("+0", 3600)] {
        fs::write(&offset, set).unwrap();
        agent.until_probed(&uuid, 2).await;
        let now = probed(&agent).await;
        let off = now - before - jump;
        assert!((0..600).contains(&off), "the clock was not set: {before} {now}");
        before = now;
        assert_eq!(agent.reconnect(&uuid).await.status, 200);
    }
    let health = agent.health(&uuid).await;
    assert_eq!(health["inventory"]["status"], "Connected");
    // The transitions of the requested reconnects, and no others.
    let expected = ["Connecting", "Connected"].into_iter().cycle().take(6);
    let expected: Vec<&str> = ["Connected"].into_iter().chain(expected).collect();
    assert_eq!(changes(&health), expected);
}
