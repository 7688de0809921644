//! The command `doctor` beside a real daemon: its findings, its languages and its exit status.

use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::agent::{Agent, PROGRAM};
use crate::support::filesystems::MountedFs;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

/// Settings under which a small disk is not full, and a store stays as it is.
const PLAIN: &str = "reserved = \"0B\"\n[monitor]\nauto_reconnect = false\n";

/// Runs `doctor` with these options. Returns its exit status, its output and its errors.
fn doctor(agent: &Agent, options: &[&str]) -> (i32, String, String) {
    let output = agent.cli(&[&["doctor"], options].concat(), "");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn findings(agent: &Agent, options: &[&str]) -> (i32, Value) {
    let (code, text, errors) = doctor(agent, &[&["--json"], options].concat());
    let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text} {errors}"));
    (code, body)
}

/// Returns the finding of a check.
fn finding<'a>(body: &'a Value, id: &str) -> &'a Value {
    let found = body["checks"].as_array().unwrap().iter().find(|check| check["id"] == id);
    found.unwrap_or_else(|| panic!("no {id} in {body:#}"))
}

#[tokio::test]
async fn a_store_that_fails_is_shown_with_its_cause_and_the_action_and_one_that_is_well_in_a_line()
{
    needs_root!();
    let (disk, other, user) = (MountedFs::of("ext4"), MountedFs::of("ext4"), User::create());
    let sshd = Builder::new().start();
    let mut agent = Agent::installed(&disk.path(), PLAIN);
    let root = format!("{:?}", disk.path());
    let both = format!("{root}, {:?}", other.path());
    agent.configure(&agent.settings().replace(&root, &both));
    agent.start();
    let failing = agent.add(&disk.path(), &sshd, &user).await;
    let well = agent.add(&other.path(), &sshd, &user).await;

    // All is well: one line for each store, and nothing with --brief.
    let (code, text, errors) = doctor(&agent, &[&failing, &well]);
    assert_eq!((code, errors.as_str()), (0, ""), "{text}");
    assert!(text.contains("√") && text.contains("Connected for"), "{text}");
    assert!(text.ends_with("2 stores, all well\n"), "{text}");
    assert_eq!(doctor(&agent, &["--brief", &failing]).1, "");
    let (code, body) = findings(&agent, &[&failing]);
    assert_eq!((code, &body["worst"]), (0, &"ok".into()), "{body:#}");
    assert_eq!(finding(&body, "ssh.login")["verdict"], "ok");

    assert!(disk.try_unmount());
    assert_eq!(agent.reconnect(&failing).await.status, 503);
    let (code, text, _) = doctor(&agent, &[&failing[..8], &well]);
    assert_eq!(code, 1, "{text}");
    let block: Vec<&str> = text.lines().skip_while(|line| !line.starts_with('×')).collect();
    assert!(block[0].contains(&failing[..8]) && block[0].ends_with("not_mounted"), "{text}");
    for (at, label) in ["found", "impact", "action"].into_iter().enumerate() {
        assert!(block[at + 1].trim_start().starts_with(label), "{text}");
    }
    assert!(text.contains("see       imagestore-agent explain not_mounted"), "{text}");
    assert!(text.lines().last().unwrap().ends_with("is not_mounted"), "{text}");
    assert!(text.contains("√ "), "the other store is well: {text}");
    let (_, brief, _) = doctor(&agent, &["--brief", &failing, &well]);
    assert!(!brief.contains('√') && brief.contains("not_mounted"), "{brief}");
    let (code, body) = findings(&agent, &[&failing]);
    assert_eq!((code, &body["worst"]), (1, &"error".into()));
    let mount = finding(&body, "mount");
    assert_eq!((&mount["verdict"], &mount["reason"]), (&"error".into(), &"not_mounted".into()));
    assert!(mount["since"].is_string() && mount["remedy"]["text"].is_string(), "{mount}");
    assert_eq!(finding(&body, "identity")["verdict"], "skipped");
    let (code, chinese, _) = doctor(&agent, &["--lang", "zh", &failing]);
    assert!(
        code == 1 && chinese.contains("失联 (Disconnected)") && chinese.contains("处理"),
        "{chinese}"
    );

    // Only one store, and only one check.
    assert_eq!(doctor(&agent, &[&well]).0, 0);
    assert_eq!(doctor(&agent, &["--check", "ssh.login", &failing]).0, 0);
    let (code, body) = findings(&agent, &["--check", "mount", &failing]);
    assert_eq!((code, body["checks"].as_array().unwrap().len()), (1, 1));
    let (code, _, errors) = doctor(&agent, &["no such store"]);
    assert!(code == 1 && errors.contains("no store has the name"), "{errors}");
}

#[tokio::test]
async fn a_wait_ends_when_the_store_is_well_again_and_says_what_it_waits_for() {
    needs_root!();
    let (disk, user) = (MountedFs::of("ext4"), User::create());
    let sshd = Builder::new().start();
    let agent_settings = "reserved = \"0B\"\n[monitor]\ninterval = \"1s\"\nrecover_after = 1\n";
    let mut agent = Agent::installed(&disk.path(), agent_settings);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    assert!(disk.try_unmount());
    assert_eq!(agent.reconnect(&uuid).await.status, 503);
    let (code, _, errors) = doctor(&agent, &["--wait", "1s", &uuid]);
    assert!(code == 1 && errors.contains("waiting:") && errors.contains("not_mounted"), "{errors}");
    disk.mount();
    let (code, text, errors) = doctor(&agent, &["--wait", "60s", &uuid]);
    assert_eq!(code, 0, "{text} {errors}");
    assert!(text.ends_with("1 store, all well\n"), "{text}");
}

#[tokio::test]
async fn a_daemon_that_is_down_or_does_not_answer_is_the_finding() {
    needs_root!();
    let disk = MountedFs::of("ext4");
    let mut agent = Agent::installed(&disk.path(), PLAIN);
    agent.start();
    let (_, body) = findings(&agent, &[]);
    assert_eq!(finding(&body, "service.answers")["verdict"], "ok", "{body:#}");
    assert_eq!(finding(&body, "program.version")["verdict"], "ok");
    assert_eq!(finding(&body, "state.writable")["verdict"], "ok");
    assert_ne!(finding(&body, "settings.valid")["verdict"], "error");

    agent.signal(Signal::SIGSTOP);
    let (code, body) = findings(&agent, &[]);
    // A chosen check that only the daemon can make does not look good.
    let (chosen_code, chosen) = findings(&agent, &["--check", "space"]);
    let options = ["--check", "ssh.login", "--check", "management.delivered"];
    let (text_code, text, errors) = doctor(&agent, &options);
    let settings = doctor(&agent, &["--check", "listen.tls"]);
    agent.signal(Signal::SIGCONT);
    assert_eq!((chosen_code, &chosen["worst"]), (1, &"error".into()), "{chosen:#}");
    assert_eq!(finding(&chosen, "space")["summary"], "needs service.answers");
    assert_eq!(finding(&chosen, "service.answers")["verdict"], "error");
    assert_eq!(chosen["checks"].as_array().unwrap().len(), 2, "{chosen:#}");
    assert_eq!(text_code, 1, "{text}");
    assert!(!text.contains("all well") && text.contains("does not answer"), "{text}");
    for id in ["ssh.login", "management.delivered"] {
        assert!(errors.contains(&format!("skipped: {id} needs service.answers")), "{errors}");
    }
    assert_eq!(settings.0, 0, "{settings:?}");
    let answers = finding(&body, "service.answers");
    assert_eq!((code, &answers["verdict"]), (1, &"error".into()), "{body:#}");
    assert!(answers["summary"].as_str().unwrap().contains("does not answer"), "{answers}");
    assert_eq!(finding(&body, "program.version")["summary"], "needs service.answers");

    agent.terminate();
    let (code, text, _) = doctor(&agent, &[]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("cannot reach the daemon") && text.contains("systemctl"), "{text}");
}

#[tokio::test]
async fn a_command_that_may_not_ask_the_daemon_gets_no_advice_to_restart_it() {
    needs_root!();
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::installed(dir.path(), "");
    agent.start();
    let token = dir.path().join("token");
    std::fs::write(&token, "another-session\n").unwrap();
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&token, 0o600);
    let url = format!("http://{}", agent.address());
    let options = ["--url", &url, "--token-file", token.to_str().unwrap()];
    let (code, body) = findings(&agent, &options);
    let refused = finding(&body, "service.answers");
    assert_eq!((code, &refused["verdict"]), (1, &"error".into()), "{body:#}");
    let remedy = refused["remedy"]["text"].as_str().unwrap();
    assert!(remedy.contains("--token-file") && !remedy.contains("restart"), "{remedy}");
    assert!(refused["summary"].as_str().unwrap().contains("answers 401"), "{refused}");
    let (_, text, _) = doctor(&agent, &[&options[..], &["--lang", "zh"]].concat());
    assert!(text.contains("令牌") && !text.contains("systemctl"), "{text}");

    // A socket of a user that is not the one of the command.
    let open = tempfile::tempdir().unwrap();
    mode(open.path(), 0o755);
    let (socket, config) = (open.path().join("agent.sock"), open.path().join("agent.toml"));
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    mode(&socket, 0o600);
    let state = open.path().join("state");
    let settings = format!(
        "[storage]\nallowed_roots = [\"/srv\"]\n[server]\nsocket = {socket:?}\n[state]\ndir = {state:?}\n"
    );
    std::fs::write(&config, settings).unwrap();
    let output = std::process::Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", PROGRAM])
        .args(["doctor", "--json", "--config", config.to_str().unwrap()])
        .output()
        .unwrap();
    let body: Value = serde_json::from_slice(&output.stdout).unwrap();
    let denied = finding(&body, "service.answers");
    let remedy = denied["remedy"]["text"].as_str().unwrap();
    assert!(remedy.contains("group of the daemon") && !remedy.contains("restart"), "{denied}");
}

#[test]
fn the_status_tells_a_warning_only_if_it_is_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    // The daemon is down, and its tokens are for callers that cannot reach a loopback address.
    let agent = Agent::installed(dir.path(), "");
    let reachable = ["--check", "listen.reachable"];
    assert_eq!(doctor(&agent, &reachable).0, 0);
    assert_eq!(doctor(&agent, &[&reachable[..], &["--strict"]].concat()).0, 1);
    assert_eq!(doctor(&agent, &["--check", "listen.tls", "--strict"]).0, 0);
    // A check that was chosen and could not run is named on stderr.
    let space = ["--check", "auth.sessions", "--check", "space"];
    for (options, words, exit) in [
        (&["--check", "certificate.server"][..], "skipped: certificate.server needs", 0),
        // Without the state directory, it is not known if there are stores.
        (&space, "skipped: space needs service.answers", 1),
    ] {
        let (code, _, errors) = doctor(&agent, options);
        assert!(code == exit && errors.contains(words), "{options:?}: {code} {errors}");
    }
    std::fs::create_dir(agent.path("state")).unwrap();
    let (code, _, errors) = doctor(&agent, &space);
    assert!(code == 0 && errors.contains("skipped: space does not concern"), "{errors}");
    let valid = ["--check", "settings.valid"];
    agent.configure("surprise = 1\n");
    let (code, body) = findings(&agent, &valid);
    assert_eq!(code, 1);
    let summary = finding(&body, "settings.valid")["summary"].as_str().unwrap();
    assert!(summary.contains("surprise"), "{summary}");
    for (options, code) in [
        (&["--check", "nothing"][..], 2),
        (&["--wait", "soon"], 2),
        (&["--lang", "fr"], 2),
        (&["--list-checks", "--check", "mount"], 2),
        (&["--list-checks", "--wait", "1s"], 2),
        (&["--list-checks", "a-store"], 2),
        (&["--list-checks"], 0),
    ] {
        let (found, text, errors) = doctor(&agent, options);
        assert_eq!(found, code, "{options:?}: {text} {errors}");
    }
    let (_, list, _) = doctor(&agent, &["--list-checks"]);
    assert!(list.lines().count() > 25 && list.contains("ssh.host_key"), "{list}");
    // The options of the program and of its output count here too.
    let config = agent.path("agent.toml");
    let config = config.to_str().unwrap();
    assert_eq!(doctor(&agent, &["--list-checks", "--lang", "en", "--config", config]).1, list);
    let (code, chinese, errors) = doctor(&agent, &["--list-checks", "--lang", "zh"]);
    assert!(code == 0 && chinese.contains("配置文件"), "{chinese} {errors}");
    let (code, body) = findings(&agent, &["--list-checks"]);
    let first = &body["checks"][0];
    assert_eq!((code, &first["id"]), (0, &"program.version".into()), "{body:#}");
    assert!(list.contains(first["meaning"].as_str().unwrap()), "{body:#}");
    assert_eq!(body["checks"].as_array().unwrap().len(), list.lines().count());
}
