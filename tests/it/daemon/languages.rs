//! The language of errors, remedies and events: `api.language`.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use hyper::Method;
use imagestore_agent::catalog::{Language, fault_action};
use imagestore_agent::cli::DaemonResponse;
use imagestore_agent::model::{Fault, Reason, Remedy};
use serde_json::{Value, json};

use crate::support::agent::{Agent, NOBODY, callback, store};
use crate::support::failures::root_cause;
use crate::support::filesystems::MountedFs;
use crate::support::management_node::ManagementNode;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, Sshd, User};

const MEANING: &str = "SSH 端口上没有服务在监听";
const ACTION: &str = "在该端口启动 sshd，或更正镜像服务器的 SSH 端口";

#[tokio::test]
async fn errors_events_and_the_health_view_are_in_the_language_of_the_settings() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let more = format!(
        "{}[api]\nlanguage = \"zh\"\n[monitor]\ninterval = \"1h\"\nauto_reconnect = false\n",
        callback(&node.url())
    );
    let mut agent = Agent::installed(&disk.path(), &more);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    drop(sshd);

    let failed = agent.reconnect(&uuid).await;
    assert_eq!(failed.status, 503, "{}", failed.body);
    let error = &failed.body["error"];
    let details = error["details"].as_str().unwrap();
    assert!(details.starts_with(&format!("connection_refused：{MEANING}（")), "{details}");
    assert!(details.ends_with(&format!("）；处理：{ACTION}")), "{details}");
    assert_eq!(error["description"], "Unable to connect a backup storage");
    let cause = &error["cause"];
    assert_eq!(cause["elaboration"], ACTION);
    assert_eq!(cause["opaque"]["reason"], "connection_refused");
    let observation = cause["details"].as_str().unwrap();
    assert!(observation.starts_with(&format!("{MEANING}（")), "{observation}");
    assert!(observation.contains("127.0.0.1"), "{observation}");
    let check = &error["opaque"]["checks"][0];
    assert_eq!(
        (&check["details"], &check["elaboration"]),
        (&cause["details"], &cause["elaboration"])
    );

    let mut event = node.next().await;
    while event.json["data"]["newStatus"] != "Disconnected" {
        event = node.next().await;
    }
    let reason = &event.json["data"]["reason"];
    assert_eq!(reason["cause"]["elaboration"], ACTION);
    assert!(!reason["details"].as_str().unwrap().contains("处理"), "{reason}");

    let health = agent.health(&uuid).await;
    assert_eq!(health["reason"]["cause"]["elaboration"], ACTION);
    let conditions = health["conditions"].as_array().unwrap();
    let ssh = conditions.iter().find(|condition| condition["type"] == "ssh").unwrap();
    assert_eq!(ssh["remedy"], ACTION);
    assert_eq!(ssh["reason"], "connection_refused");

    // The diagnosis has this language too, unless the request asks for another one.
    for (query, expected) in [("", true), ("&language=en", false)] {
        let path = format!("/imagestore/diagnosis?store={uuid}&brief=true{query}");
        let body = agent.http().send_request(Method::GET, &path, None).await.unwrap().body;
        let checks = body["checks"].as_array().unwrap();
        let connect = checks.iter().find(|check| check["id"] == "ssh.connect").unwrap();
        assert_eq!(connect["remedy"]["text"] == ACTION, expected, "{connect}");
    }

    let shown = agent.cli(&["reconnect", &uuid], "");
    let text = String::from_utf8(shown.stderr).unwrap();
    assert_eq!(shown.status.code(), Some(1), "{text}");
    assert_eq!(text.matches(ACTION).count(), 1, "{text}");

    // A text that clients compare stays as it is.
    let job = format!("/zstack/v1/api-jobs/{}", "a".repeat(32));
    let unknown = agent.http().send_request(Method::GET, &job, None).await.unwrap();
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    let details = unknown.body["error"]["details"].as_str().unwrap();
    assert!(details.starts_with("the job has been expired"), "{details}");
    let log = agent.log();
    assert!(!log.contains(MEANING) && !log.contains(ACTION), "the log is English: {log}");
}

const CHINESE: &str =
    "[api]\nlanguage = \"zh\"\n[monitor]\ninterval = \"1h\"\nauto_reconnect = false\n";

/// Returns the Chinese action of a fault with this remedy.
fn chinese(reason: Reason, remedy: Remedy) -> String {
    let fault = Fault::new(reason, "").with_remedy(remedy);
    fault_action(&fault, Language::Chinese).into_owned()
}

/// Checks that an attempt failed with this reason, and that its action is this one in every place.
fn expect_action(reply: &DaemonResponse, reason: Reason, action: &str) {
    let cause = root_cause(reply);
    assert_eq!(cause["opaque"]["reason"], reason.as_str(), "{}", reply.body);
    assert_eq!(cause["elaboration"], action, "{}", reply.body);
    let details = reply.body["error"]["details"].as_str().unwrap();
    assert!(details.ends_with(&format!("；处理：{action}")), "{details}");
}

/// Returns the remedy of a check of a store in a language.
async fn diagnosed(agent: &Agent, uuid: &str, check: &str, language: &str) -> Value {
    let path = format!("/imagestore/diagnosis?store={uuid}&brief=true&language={language}");
    let body = agent.http().send_request(Method::GET, &path, None).await.unwrap().body;
    let checks = body["checks"].as_array().unwrap();
    let found = checks.iter().find(|found| found["id"] == check);
    found.unwrap_or_else(|| panic!("{check}: {body}"))["remedy"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remedy_of_a_login_or_a_key_is_in_the_language_of_the_settings() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), CHINESE);
    agent.start();
    let add = |sshd: &Sshd, change: &dyn Fn(&mut Value)| {
        let mut body = store(&disk.path(), sshd, &user);
        change(&mut body["params"]);
        agent.ask(Method::POST, "/image-store", Some(body))
    };

    let putty = add(&sshd, &|params| {
        params["privateKey"] = json!("PuTTY-User-Key-File-3: ssh-ed25519\n");
    });
    let action = chinese(Reason::KeyUnusable, Remedy::ConvertPuttyKey);
    assert!(action.contains("puttygen KEY -O private-openssh -o NEWKEY"), "{action}");
    expect_action(&putty.await, Reason::KeyUnusable, &action);

    let old = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = old.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        old.accept().unwrap().0.write_all(b"SSH-1.5-Old\r\n").unwrap();
    });
    let version_1 = add(&sshd, &|params| params["sshPort"] = json!(port)).await;
    answering.join().unwrap();
    let action = chinese(Reason::NotSsh, Remedy::UpdateSshServer);
    expect_action(&version_1, Reason::NotSsh, &action);

    // The general action of the reason, and one more for a login that is suspended.
    let general =
        fault_action(&Fault::new(Reason::CredentialsRefused, ""), Language::Chinese).into_owned();
    let force = chinese(Reason::CredentialsRefused, Remedy::RetryWithForce);
    let wrong = |params: &mut Value| params["password"] = json!("wrong");
    for _ in 0..3 {
        let rejected = add(&sshd, &wrong).await;
        assert_eq!(root_cause(&rejected)["elaboration"], general.as_str(), "{}", rejected.body);
    }
    let suspended = add(&sshd, &wrong).await;
    expect_action(&suspended, Reason::CredentialsRefused, &format!("{general}；{force}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remedy_of_a_disk_is_in_the_language_of_the_settings_also_after_a_restart() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    for path in [disk.path().parent().unwrap(), &disk.path()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let dir = disk.path();
    let mut agent = Agent::installed(&dir, CHINESE).running_as_nobody();
    agent.start();
    let made = agent.cli(&["init", dir.to_str().unwrap()], "");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let uuid = agent.add(&dir, &sshd, &user).await;

    let folder = dir.join(".imagestore-agent");
    let node = fs::read_to_string(agent.path("state/node-id")).unwrap();
    let in_the_way = folder.join(format!("probe.{}", node.trim_end()));
    fs::create_dir(&in_the_way).unwrap();
    let path = in_the_way.to_str().unwrap().to_owned();
    let action = chinese(Reason::NameInUse, Remedy::MoveNameAway { path });
    expect_action(&agent.reconnect(&uuid).await, Reason::NameInUse, &action);
    for (language, is_chinese) in [("zh", true), ("en", false)] {
        let remedy = diagnosed(&agent, &uuid, "write", language).await;
        assert_eq!(remedy["text"] == action.as_str(), is_chinese, "{remedy}");
        assert_eq!(remedy["commands"], json!([]), "{remedy}");
    }
    fs::remove_dir(&in_the_way).unwrap();

    chown(&folder, Some(0), Some(0)).unwrap();
    let init =
        Remedy::InitDirectory { dir: dir.to_str().unwrap().to_owned(), uid: NOBODY.to_string() };
    let action = chinese(Reason::PermissionDenied, init);
    expect_action(&agent.reconnect(&uuid).await, Reason::PermissionDenied, &action);
    let commands = json!([format!("imagestore-agent init {}", dir.display())]);
    for restart in [false, true] {
        if restart {
            assert!(agent.terminate().0.success());
            agent.start();
        }
        let health = agent.health(&uuid).await;
        assert_eq!(health["reason"]["cause"]["elaboration"], action, "{restart}: {health:#}");
        let (zh, en) = (
            diagnosed(&agent, &uuid, "permission", "zh").await,
            diagnosed(&agent, &uuid, "permission", "en").await,
        );
        assert_eq!((&zh["text"], &zh["commands"]), (&json!(action), &commands), "{restart}");
        assert_eq!(en["commands"], commands, "{restart}: {en}");
        assert!(en["text"].as_str().unwrap().starts_with("as root: "), "{restart}: {en}");
    }
    let english = agent.cli(&["doctor", &uuid, "--lang", "en"], "");
    let shown = agent.cli(&["doctor", &uuid, "--lang", "zh"], "");
    for (output, is_chinese) in [(shown, true), (english, false)] {
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.contains(&action), is_chinese, "{text}");
        assert!(text.contains(commands[0].as_str().unwrap()), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remedy_of_the_daemon_itself_is_in_the_language_of_the_settings() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), CHINESE);
    let script = "mount -t tmpfs none /dev && exec \"$@\"";
    assert!(agent.start_under(&["unshare", "-m", "sh", "-c", script, "sh"]));
    let body = store(&disk.path(), &sshd, &user);
    let reply = agent.ask(Method::POST, "/image-store", Some(body)).await;
    let action = chinese(Reason::AgentBusy, Remedy::CreateNullDevice);
    assert!(action.contains("mknod -m 666 /dev/null c 1 3"), "{action}");
    expect_action(&reply, Reason::AgentBusy, &action);
    assert!(agent.terminate().0.success());
}

/// Returns true if a text has a Chinese character.
fn is_chinese(text: &Value) -> bool {
    text.as_str().unwrap().chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_observation_is_in_the_language_also_without_the_daemon() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let mut agent = Agent::installed(&disk.path(), &format!("{CHINESE}{}", callback(&node.url())));
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    node.next().await;
    let diagnosis = async |agent: &Agent| {
        let answer = agent.http().send_request(Method::GET, "/imagestore/diagnosis", None).await;
        answer.unwrap().body["checks"].as_array().unwrap().clone()
    };
    let doctor = |agent: &Agent| {
        let output = agent.cli(&["doctor", "--json", "--lang", "zh"], "");
        let body: Value = serde_json::from_slice(&output.stdout).unwrap();
        body["checks"].as_array().unwrap().clone()
    };
    for is_well in [true, false] {
        if !is_well {
            assert!(disk.try_unmount());
            assert_eq!(agent.reconnect(&uuid).await.status, 503);
        }
        for check in diagnosis(&agent).await.into_iter().chain(doctor(&agent)) {
            // These are the words of `check-config`.
            let is_quoted = check["id"] == "settings.valid" && check["verdict"] != "ok";
            assert!(is_quoted || is_chinese(&check["summary"]), "{check}");
        }
        let health = agent.health(&uuid).await;
        for condition in health["conditions"].as_array().unwrap() {
            assert!(is_chinese(&condition["message"]), "{condition}");
        }
    }
    // What the daemon saw stands in brackets.
    let health = agent.health(&uuid).await;
    let conditions = health["conditions"].as_array().unwrap();
    let examine = conditions.iter().find(|condition| condition["type"] == "examine").unwrap();
    let message = examine["message"].as_str().unwrap();
    assert!(message.contains('（') && message.ends_with('）'), "{message}");
    assert_eq!(examine["reason"], "not_mounted");

    assert!(agent.terminate().0.success());
    let checks = doctor(&agent);
    let answers = checks.iter().find(|check| check["id"] == "service.answers").unwrap();
    assert!(answers["summary"].as_str().unwrap().starts_with("代理没有运行："), "{answers}");
    for check in checks {
        let is_quoted = check["id"] == "settings.valid" && check["verdict"] != "ok";
        assert!(is_quoted || is_chinese(&check["summary"]), "{check}");
    }
    let text = String::from_utf8(agent.cli(&["doctor", "--lang", "zh"], "").stdout).unwrap();
    assert!(text.contains("现象      代理没有运行："), "{text}");
    assert!(text.lines().last().unwrap().contains(" 为 "), "{text}");
}

#[test]
fn an_unknown_language_is_a_fault_of_the_settings() {
    for line in ["language = \"fr\"", "language = \"\"", "language = \"ZH\"", "language = 1"] {
        let agent = Agent::installed(Path::new("/srv"), &format!("[api]\n{line}\n"));
        let checked = agent.cli(&["check-config"], "");
        let text = String::from_utf8(checked.stdout).unwrap()
            + &String::from_utf8(checked.stderr).unwrap();
        assert_eq!(checked.status.code(), Some(64), "{line}: {text}");
        assert!(text.contains("api.language"), "{line}: {text}");
    }
}
