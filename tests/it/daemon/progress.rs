//! The phases of an attempt as they end: on the command line and over HTTP.

use std::sync::Arc;

use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::agent::{Agent, callback};
use crate::support::filesystems::MountedFs;
use crate::support::management_node::{Answer, ManagementNode};
use crate::support::requirements::needs_root;
use crate::support::running_command::RunningCommand;
use crate::support::sshd::{Builder, User};
use crate::support::wait::until;

const CALM: &str = "[monitor]\ninterval = \"1h\"\nauto_reconnect = false\n";
const LOGIN: [&str; 5] = ["resolve", "connect", "handshake", "auth", "proof"];
const DISK: [&str; 2] = ["examine", "write"];

/// Returns the first word of each line.
fn words<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    lines.into_iter().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

/// Checks that the phases are those of one attempt: both checks in their order, and the commit.
fn assert_one_attempt(phases: &[String]) {
    let of = |check: &[&str]| -> Vec<&str> {
        phases.iter().map(String::as_str).filter(|phase| check.contains(phase)).collect()
    };
    assert_eq!((of(&LOGIN), of(&DISK)), (LOGIN.to_vec(), DISK.to_vec()), "{phases:?}");
    assert_eq!((phases.last().map(String::as_str), phases.len()), (Some("commit"), 8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconnect_shows_each_phase_as_it_ends_and_its_result_last() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), CALM);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;

    let plain = agent.cli(&["reconnect", &uuid], "");
    let shown = agent.cli(&["reconnect", "images", "--progress"], "");
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    let shown = String::from_utf8(shown.stdout).unwrap();
    // The result follows, as it is without the phases, except for the time.
    let (phases, result) = shown.split_at(shown.find("uuid").unwrap());
    assert_one_attempt(&words(phases.lines()));
    assert!(phases.lines().all(|line| line.ends_with(" ms")), "{phases}");
    let plain = String::from_utf8(plain.stdout).unwrap();
    assert_eq!(words(result.lines()), words(plain.lines()));

    let json = agent.cli(&["reconnect", &uuid, "--progress", "--json"], "");
    assert_eq!(json.status.code(), Some(0), "{json:?}");
    let json = String::from_utf8(json.stdout).unwrap();
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (result, phases) = lines.split_last().unwrap();
    assert_eq!(result["inventory"]["status"], "Connected");
    for phase in phases {
        assert_eq!((&phase["event"], &phase["failed"]), (&json!("phase"), &json!(false)));
        assert_eq!(phase["store"], uuid);
    }
    let phases = phases.iter().map(|phase| phase["phase"].as_str().unwrap().to_owned());
    assert_one_attempt(&phases.collect::<Vec<_>>());

    until("the directory is unmounted", async || disk.try_unmount()).await;
    let failed = agent.cli(&["reconnect", &uuid, "--progress"], "");
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let (stdout, stderr) = (failed.stdout, String::from_utf8(failed.stderr).unwrap());
    let phases = String::from_utf8(stdout).unwrap();
    let failures: Vec<&str> = phases.lines().filter(|line| line.ends_with("  failed")).collect();
    assert_eq!(words(failures), ["examine"], "{phases}");
    assert!(phases.lines().last().unwrap().starts_with("commit "), "{phases}");
    assert!(!phases.contains("write") && stderr.contains("not_mounted"), "{phases}{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_delivery_of_the_notices_is_the_last_phase_if_it_is_waited_for() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let node = ManagementNode::answering([]).await;
    let mut agent = Agent::installed(&disk.path(), &format!("{}{CALM}", callback(&node.url())));
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let added = agent.cli(&["wait", &uuid, "--for", "delivered"], "");
    assert_eq!(added.status.code(), Some(0), "{added:?}");
    let wait = ["reconnect", &uuid, "--progress", "--wait-delivered"];
    let answers = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&answers);
    node.set_script(move |_| Answer::AfterPermit(200, Arc::clone(&held)));
    let command = RunningCommand::start(&agent, &[&wait[..], &["60s"]].concat());
    command.until_line("commit ");
    answers.add_permits(100);
    assert!(command.next_line().starts_with("delivered "));
    assert!(command.next_line().starts_with("uuid "));
    assert_eq!(command.exit_code().await, Some(0));

    node.set_script(|_| Answer::Never);
    let late = agent.cli(&[&wait[..], &["1s"]].concat(), "");
    assert_eq!(late.status.code(), Some(1), "{late:?}");
    let (stdout, stderr) = (String::from_utf8(late.stdout).unwrap(), late.stderr);
    let delivered = stdout.lines().find(|line| line.starts_with("delivered ")).unwrap();
    assert!(delivered.ends_with(" failed") && stdout.contains("Connected"), "{stdout}");
    assert!(String::from_utf8(stderr).unwrap().contains("not delivered after 1s"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_hangs_shows_the_phases_before_to_each_that_joins_it() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let dirs = ["one", "two"].map(|name| disk.path().join(name));
    dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
    let mut agent = Agent::installed(&disk.path(), CALM);
    agent.start();
    let one = agent.add(&dirs[0], &sshd, &user).await;
    let two = agent.add(&dirs[1], &sshd, &user).await;
    let path = format!("/imagestore/stores/{one}/attempt");
    let attempt = async || agent.http().send_request(Method::GET, &path, None).await.unwrap().body;
    assert_eq!(attempt().await, json!({ "phases": null }));

    // The kernel accepts the connection, and no process answers on it.
    sshd.freeze();
    let first = RunningCommand::start(&agent, &["reconnect", &one, "--progress"]);
    first.until_line("connect ");
    let joined = RunningCommand::start(&agent, &["reconnect", &one, "--progress"]);
    assert!(joined.next_line().starts_with("resolve "));
    joined.until_line("connect ");
    until("the disk is examined", async || {
        let phases = attempt().await["phases"].as_array().map_or(0, Vec::len);
        phases == 4
    })
    .await;
    let phases = attempt().await["phases"].clone();
    let ended: Vec<&str> =
        phases.as_array().unwrap().iter().map(|end| end["phase"].as_str().unwrap()).collect();
    assert!(ended.contains(&"write") && !ended.contains(&"handshake"), "{ended:?}");
    sshd.thaw();
    for command in [first, joined] {
        let lines = command.remaining_lines();
        let result = lines.iter().position(|line| line.starts_with("uuid ")).unwrap();
        assert!(lines[result - 1].starts_with("commit "), "{lines:?}");
        assert_eq!(command.exit_code().await, Some(0));
    }
    assert_eq!(attempt().await, json!({ "phases": null }));

    // With several stores, each line names its store.
    assert_eq!(rename(&agent, &one).await, 200);
    let all = agent.cli(&["reconnect", "--all", "--progress"], "");
    assert_eq!(all.status.code(), Some(0), "{all:?}");
    let all = String::from_utf8(all.stdout).unwrap();
    for name in ["renamed", "images"] {
        let of_store = all.lines().filter_map(|line| line.strip_prefix(name));
        assert_one_attempt(&words(of_store.filter(|line| line.contains(" ms"))));
    }
    assert!(all.lines().any(|line| line.starts_with(&two)), "{all}");
}

async fn rename(agent: &Agent, uuid: &str) -> u16 {
    let body = json!({"updateBackupStorage": {"name": "renamed"}});
    let reply = agent.ask(Method::PUT, &format!("/{uuid}/actions"), Some(body)).await;
    reply.status.as_u16()
}
