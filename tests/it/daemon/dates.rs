//! The form and the time zone of ZStack's dates.

use serde_json::Value;

use crate::support::agent::{Agent, callback};
use crate::support::filesystems::MountedFs;
use crate::support::management_node::ManagementNode;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

/// Returns the time of a date in ISO form with the offset of Shanghai.
fn instant_of(date: &Value) -> i64 {
    let text = date.as_str().unwrap();
    assert!(text.ends_with("+08:00"), "{text}");
    text.parse::<jiff::Timestamp>().unwrap().as_second()
}

#[tokio::test]
async fn dates_are_in_the_form_and_the_zone_of_the_settings() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let more = format!(
        "{}[api]\ndates = \"iso8601\"\ntime_zone = \"Asia/Shanghai\"\n",
        callback(&node.url())
    );
    let mut agent = Agent::installed(&disk.path(), &more);
    agent.start();
    let before = jiff::Timestamp::now().as_second();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let after = jiff::Timestamp::now().as_second();
    let inventory = agent.inventory(&uuid).await;
    let created = instant_of(&inventory["createDate"]);
    assert!((before..=after).contains(&created), "{before} {created} {after}");
    assert!(instant_of(&inventory["lastOpDate"]) >= created);
    let health = agent.health(&uuid).await;
    assert_eq!(health["inventory"], inventory);
    let reconnected = agent.reconnect(&uuid).await;
    assert_eq!(reconnected.body["inventory"]["createDate"], inventory["createDate"]);
    // The form of the events is a contract of its own.
    let event = node.next().await;
    let text = event.json["data"]["inventory"]["createDate"].as_str().unwrap();
    assert!(text.ends_with("AM") || text.ends_with("PM"), "{text}");
}

#[test]
fn an_unknown_form_or_zone_is_a_fault_of_the_settings() {
    for (line, key) in [
        ("dates = \"rfc\"", "api.dates"),
        ("time_zone = \"Asia/Nowhere\"", "api.time_zone"),
        ("time_zone = \"\"", "api.time_zone"),
        ("time_zone = \"CST\"", "api.time_zone"),
        ("time_zone = 8", "api.time_zone"),
    ] {
        let agent = Agent::installed(std::path::Path::new("/srv"), &format!("[api]\n{line}\n"));
        let checked = agent.cli(&["check-config"], "");
        let text = String::from_utf8(checked.stdout).unwrap()
            + &String::from_utf8(checked.stderr).unwrap();
        assert_eq!(checked.status.code(), Some(64), "{line}: {text}");
        assert!(text.contains(key), "{line}: {text}");
    }
}
