//! The largest requests that the limits of their fields permit.

use hyper::Method;
use imagestore_agent::model::Tags;
use serde_json::json;

use crate::support::agent::{Agent, store};
use crate::support::filesystems::MountedFs;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_add_with_the_longest_tags_and_texts_is_made() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), "[monitor]\ninterval = \"1h\"\n");
    agent.start();
    let tags = vec!["\u{1f600}".repeat(Tags::MAX_CHARS); Tags::MAX_COUNT];
    let mut body = store(&disk.path(), &sshd, &user);
    for holder in ["", "/params"] {
        body.pointer_mut(holder).unwrap()["systemTags"] = json!(tags);
        body.pointer_mut(holder).unwrap()["userTags"] = json!(tags);
    }
    let params = &mut body["params"];
    params["name"] = json!("名".repeat(255));
    params["description"] = json!("\u{1f600}".repeat(2048));
    assert!(body.to_string().len() > 256 * 1024);
    let added = agent.ask(Method::POST, "/image-store", Some(body.clone())).await;
    assert_eq!(added.status, 200, "{}", added.body);
    assert_eq!(added.body["inventory"]["name"], json!("名".repeat(255)));
    // The longest text of a key is no key, and the response says so.
    let other = disk.path().join("other");
    std::fs::create_dir(&other).unwrap();
    body["params"]["url"] = json!(other);
    body["params"]["privateKey"] = json!("x".repeat(32 * 1024));
    let failed = agent.ask(Method::POST, "/image-store", Some(body)).await;
    assert_eq!(failed.status, 503, "{}", failed.body);
    assert!(failed.body.to_string().contains("key_unusable"), "{}", failed.body);
}
