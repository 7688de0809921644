//! What the daemon does not do to an account whose password has changed.

use hyper::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::agent::{Agent, TOKEN};
use crate::support::filesystems::Mounted;
use crate::support::http_server::{Asked, exchange};
use crate::support::needs::needs_root;
use crate::support::sshd::{Builder, User};

/// The deepest cause.
fn root(body: &Value) -> &Value {
    let mut error = &body["error"];
    while error["cause"].is_object() {
        error = &error["cause"];
    }
    &error["opaque"]
}

#[tokio::test]
async fn refused_credentials_are_tried_three_times_and_then_only_by_force() {
    needs_root!();
    let (disk, sshd, user) = (Mounted::of("ext4"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), "[monitor]\ninterval = \"1h\"\n");
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    user.set_password("another");
    for _ in 0..3 {
        let reply = agent.reconnect(&uuid).await;
        assert_eq!(root(&reply.body)["reason"], "credentials_refused");
        assert!(root(&reply.body)["remembered"].is_null(), "{}", reply.body);
    }
    for _ in 0..3 {
        let reply = agent.reconnect(&uuid).await;
        let told = root(&reply.body);
        assert_eq!(
            (&told["reason"], &told["remembered"]),
            (&json!("credentials_refused"), &json!(true))
        );
        let wait = told["retryAfterSeconds"].as_u64().unwrap();
        assert!((1..=900).contains(&wait), "{told}");
    }
    assert_eq!(sshd.logged("Failed password"), 3);

    let forced = agent.cli(&["reconnect", &uuid, "--force"], "");
    assert!(!forced.status.success());
    sshd.until_logged("Failed password", 4);

    // A success wipes the slate.
    user.set_password(&user.password);
    let path = format!("/image-store/{uuid}/actions");
    let body = json!({"params": {"force": true}});
    assert_eq!(agent.ask(Method::PUT, &path, Some(body)).await.status, 200);
    user.set_password("another");
    let reply = agent.reconnect(&uuid).await;
    assert!(root(&reply.body)["remembered"].is_null(), "{}", reply.body);
    sshd.until_logged("Failed password", 5);
}

#[tokio::test]
async fn a_remembered_refusal_says_when_to_come_back() {
    needs_root!();
    let (disk, sshd, user) = (Mounted::of("ext4"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), "[monitor]\ninterval = \"1h\"\n");
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    user.set_password("another");
    for _ in 0..3 {
        assert_eq!(agent.reconnect(&uuid).await.status, 503);
    }
    let line = format!("PUT /zstack/v1/backup-storage/image-store/{uuid}/actions");
    let asked = Asked { token: Some(TOKEN), ..Asked::new(&line, r#"{"params":{}}"#) };
    let stream = TcpStream::connect(agent.address()).await.unwrap();
    let answer = exchange(stream, &asked.bytes()).await;
    let wait = answer.header("retry-after").expect("Retry-After");
    let wait: u32 = wait.parse().unwrap();
    assert!((1..=900).contains(&wait), "{wait}");
}
