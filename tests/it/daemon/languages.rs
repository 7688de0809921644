//! The language of errors, remedies and events: `api.language`.

use std::path::Path;

use hyper::Method;

use crate::support::agent::{Agent, callback};
use crate::support::filesystems::MountedFs;
use crate::support::management_node::ManagementNode;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

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
