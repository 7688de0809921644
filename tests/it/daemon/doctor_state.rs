//! The command `doctor` and the state directory: it calls nothing well that it does not know, and
//! nothing wrong that only it may not see.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::doctor_offline::{Scene, findings, found, unchanged_findings};
use crate::support::agent::{Agent, NOBODY};
use crate::support::requirements::needs_root;

/// A user that owns nothing and is not the daemon's.
const STRANGER: u32 = 54_321;

#[tokio::test]
async fn a_key_that_does_not_open_each_stored_secret_is_an_error() {
    needs_root!();
    let mut scene = Scene::set().await;
    let key = ["--check", "state.key"];
    let (code, body) = findings(&scene.agent, &key);
    assert_eq!((code, found(&body, "state.key").0), (0, "ok"), "{body:#}");
    assert!(scene.agent.terminate().0.success());
    let file = scene.agent.path("state/master-key");
    let right = fs::read(&file).unwrap();
    let opened = ("ok", "the master key opens each stored secret (1)");
    let (code, body) = unchanged_findings(&scene.agent, &key);
    assert_eq!((code, found(&body, "state.key")), (0, opened));
    for (wrong, words) in [
        (&[7; 32][..], "another key sealed the secret"),
        (&[], "neither 32 bytes"),
        (b"no key", "neither 32 bytes"),
    ] {
        fs::write(&file, wrong).unwrap();
        let (code, body) = unchanged_findings(&scene.agent, &key);
        let (verdict, summary) = found(&body, "state.key");
        assert_eq!((code, verdict), (1, "error"), "{body:#}");
        assert_eq!(body["checks"][0]["reason"], "secret_unreadable");
        assert!(summary.contains(words) && summary.contains("master-key"), "{summary}");
    }
    // The daemon says the same once a login needs the secret.
    fs::write(&file, [7; 32]).unwrap();
    scene.agent.start();
    let _ = scene.agent.reconnect(&scene.uuid).await;
    let (code, body) = findings(&scene.agent, &key);
    let (verdict, summary) = found(&body, "state.key");
    assert_eq!((code, verdict), (1, "error"), "{body:#}");
    assert!(summary.contains("cannot open the secret of 1"), "{summary}");
    assert!(scene.agent.terminate().0.success());
    // What the ledger would show is not known without it.
    fs::write(&file, right).unwrap();
    fs::write(scene.agent.path("state/ledger.sqlite"), b"damaged").unwrap();
    let (_, body) = findings(&scene.agent, &key);
    assert_eq!(found(&body, "state.key"), ("skipped", "needs the ledger"));
}

#[tokio::test]
async fn a_lock_that_is_missing_proves_nothing() {
    needs_root!();
    let mut scene = Scene::set().await;
    let (state, moved) = (scene.agent.path("state"), scene.agent.path("moved"));
    fs::remove_file(state.join("lock")).unwrap();
    scene.agent.signal(Signal::SIGSTOP);
    let (code, body) = unchanged_findings(&scene.agent, &[]);
    assert_eq!(code, 1);
    let (verdict, summary) = found(&body, "service.answers");
    assert_eq!(verdict, "error");
    assert!(summary.starts_with("the daemon does not answer"), "{summary}");
    // The daemon has the ledger open, and a copy could be torn.
    for id in ["state.ledger", "state.key"] {
        assert_eq!(found(&body, id).0, "skipped", "{body:#}");
    }
    scene.agent.signal(Signal::SIGCONT);
    fs::rename(&state, &moved).unwrap();
    let (code, body) = findings(&scene.agent, &[]);
    let (verdict, summary) = found(&body, "service.answers");
    assert_eq!((code, verdict), (1, "error"));
    assert!(!summary.contains("does not run"), "{summary}");
    assert_eq!(found(&body, "state.ledger").0, "skipped", "{body:#}");
    fs::rename(&moved, &state).unwrap();
    assert!(scene.agent.terminate().0.success());

    // A restored backup has no lock.
    let _ = fs::remove_file(state.join("lock"));
    let (_, body) = unchanged_findings(&scene.agent, &[]);
    assert_eq!(found(&body, "state.ledger"), ("ok", "the ledger has 1 stores"));
    assert_eq!(found(&body, "identity").0, "ok", "{body:#}");
    let output = scene.agent.cli(&["doctor", "no such store"], "");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no store has the name"));
}

#[test]
fn a_lost_ledger_is_an_error_and_a_first_start_is_not() {
    let mut agent = Agent::installed(Path::new("/var/lib/imagestore"), "");
    let (code, body) = findings(&agent, &["--check", "state.writable"]);
    let (verdict, summary) = found(&body, "state.writable");
    assert_eq!((code, verdict), (0, "ok"), "{body:#}");
    assert!(summary.contains("the first start creates it"), "{summary}");
    let (_, body) = findings(&agent, &["--check", "state.space"]);
    assert_eq!(found(&body, "state.space"), ("skipped", "needs state.dir"));
    agent.start();
    assert!(agent.terminate().0.success());
    for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = fs::remove_file(agent.path("state").join(name));
    }
    let (code, body) = unchanged_findings(&agent, &["--check", "state.ledger"]);
    let (verdict, summary) = found(&body, "state.ledger");
    assert_eq!((code, verdict), (1, "error"), "{body:#}");
    assert!(summary.contains("the ledger is lost"), "{summary}");
    fs::remove_file(agent.path("state/node-id")).unwrap();
    let (code, body) = unchanged_findings(&agent, &["--check", "state.ledger"]);
    assert_eq!((code, found(&body, "state.ledger")), (0, ("ok", "no store was added yet")));
}

#[test]
fn another_user_gets_no_errors_about_itself() {
    needs_root!();
    let mut agent = Agent::installed(Path::new("/var/lib/imagestore"), "").running_as_nobody();
    agent.start();
    let (program, settings) = (agent.path("agent"), agent.path("agent.toml"));
    let run = |user: u32| {
        let user = [format!("--reuid={user}"), format!("--regid={user}")];
        let output = Command::new("/usr/bin/setpriv")
            .args(user)
            .arg("--clear-groups")
            .arg(&program)
            .args(["doctor", "--json", "--config"])
            .arg(&settings)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{error}"))
    };
    for mode in [0o750, 0o755] {
        fs::set_permissions(agent.path("state"), fs::Permissions::from_mode(mode)).unwrap();
        let body = run(STRANGER);
        for id in ["settings.valid", "state.writable", "state.key"] {
            assert_eq!(found(&body, id), ("skipped", "needs root, or the daemon's user"), "{id}");
        }
        let ledger =
            body["checks"].as_array().unwrap().iter().find(|it| it["id"] == "state.ledger");
        assert!(ledger.is_none_or(|it| it["verdict"] != "error"), "{body:#}");
    }
    let body = run(NOBODY);
    for id in ["settings.valid", "state.key"] {
        assert_eq!(found(&body, id).0, "ok", "{body:#}");
    }
    assert!(agent.terminate().0.success());
    let body = run(STRANGER);
    let needs = ("skipped", "needs root, or the daemon's user");
    assert_eq!(found(&body, "state.ledger"), needs, "{body:#}");
    // A fault of the settings is one for each user.
    agent.configure(&agent.settings().replace("[server]", "[server]\nno_such_setting = 1"));
    let body = run(STRANGER);
    assert_eq!(found(&body, "settings.valid").0, "error", "{body:#}");
}

#[test]
fn access_that_the_daemon_lacks_is_no_trouble_of_the_disk() {
    needs_root!();
    let mut agent = Agent::installed(Path::new("/var/lib/imagestore"), "").running_as_nobody();
    let writable = ["--check", "state.writable"];
    agent.start();
    assert!(agent.terminate().0.success());
    let state = agent.path("state");
    let ledger = state.join("ledger.sqlite");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let is_refused = |words: &str| {
        let (code, body) = unchanged_findings(&agent, &writable);
        let (verdict, summary) = found(&body, "state.writable");
        assert_eq!((code, verdict), (1, "error"), "{words}: {body:#}");
        assert!(summary.contains(words), "{summary}");
        let check = &body["checks"][0];
        assert!(check["reason"].is_null(), "{check:#}");
        let action = check["remedy"]["text"].as_str().unwrap();
        assert!(action.contains("daemon's user") && !action.contains("space"), "{action}");
    };
    mode(&ledger, 0);
    is_refused("cannot read and write");
    mode(&ledger, 0o600);
    mode(&state, 0o500);
    is_refused("the owner of");
    mode(&state, 0o750);
    fs::rename(&ledger, state.join("other")).unwrap();
    symlink("/etc/passwd", &ledger).unwrap();
    is_refused("is a link");
    fs::rename(state.join("other"), &ledger).unwrap();
    let node = state.join("node-id");
    mode(&node, 0);
    let (_, body) = unchanged_findings(&agent, &["--check", "state.ledger"]);
    let (verdict, summary) = found(&body, "state.ledger");
    assert!(verdict == "error" && summary.contains("cannot read"), "{summary}");
    mode(&node, 0o600);
    fs::rename(&state, agent.path("moved")).unwrap();
    fs::write(&state, b"").unwrap();
    let (code, body) = findings(&agent, &writable);
    let (verdict, summary) = found(&body, "state.writable");
    assert_eq!((code, verdict), (1, "error"), "{body:#}");
    assert!(summary.contains("Not a directory"), "{summary}");
    assert!(body["checks"][0]["reason"].is_null(), "{body:#}");
}
