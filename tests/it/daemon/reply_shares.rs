//! Replies of the agent protocol whose receivers are silent: a destination and a caller hold their
//! share, and the replies of others are posted at once.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::support::agent::Agent;
use crate::support::http_server::{HttpRequest, HttpResponse, exchange};
use crate::support::loopback::connect_from;
use crate::support::management_node::{Answer, ManagementNode};
use crate::support::silent_receiver::{Silence, SilentReceiver};

/// Maximum time until a reply to a receiver that answers. One request to a silent receiver takes
/// twice as long.
const PROMPT: Duration = Duration::from_secs(5);

/// Starts a daemon without stores. A ping of an unknown store has a reply too.
fn started(dir: &std::path::Path) -> Agent {
    let mut agent = Agent::installed(dir, "");
    let more = "[server]\nagent_allow = [\"127.0.0.0/8\"]\n";
    agent.configure(&agent.settings().replacen("[server]\n", more, 1));
    agent.start();
    agent
}

/// Pings from an address of the loopback network.
async fn ping(agent: &Agent, from: &str, task: &str, url: &str) -> HttpResponse {
    let headers = format!("taskuuid: {task}\r\ncallbackurl: {url}\r\n");
    let body = json!({"uuid": "00000000000040008000000000000bad"}).to_string();
    let request = HttpRequest {
        token: None,
        headers: &headers,
        ..HttpRequest::new("POST /imagestore/ping", &body)
    };
    let from: IpAddr = from.parse().unwrap();
    exchange(connect_from(from, agent.address()).await.unwrap(), &request.bytes()).await
}

/// Pings until the daemon refuses, and returns the number of accepted pings.
async fn flood(agent: &Agent, from: &str, url: &str) -> usize {
    for n in 0..300 {
        let reply = ping(agent, from, &format!("flood-{n}"), url).await;
        if reply.status == 200 {
            continue;
        }
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
        assert_eq!(reply.error("/cause/opaque/reason"), "agent_busy");
        return n;
    }
    panic!("nothing was refused")
}

/// Pings with a receiver that answers, and checks that it gets the reply at once.
async fn expect_prompt_reply(agent: &Agent, from: &str, node: &mut ManagementNode) {
    let reply = ping(agent, from, "good", &node.url()).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    loop {
        let received = timeout(PROMPT, node.next()).await.expect("the reply waits for others");
        if received.header("taskuuid") == "good" {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_destinations_delay_no_reply_to_another_one_of_the_same_caller() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = started(dir.path());
    let mut node = ManagementNode::answering([]).await;
    let mut receivers = Vec::new();
    for (silence, room) in
        [(Silence::NeverAnswers, 128), (Silence::ByteASecond, 64), (Silence::Blackhole, 32)]
    {
        let receiver = SilentReceiver::start(silence).await;
        let accepted = flood(&agent, "127.0.0.1", &receiver.url()).await;
        assert_eq!(accepted, room, "{silence:?}");
        expect_prompt_reply(&agent, "127.0.0.1", &mut node).await;
        receivers.push(receiver);
    }
    let peaks: Vec<usize> = receivers.iter().map(SilentReceiver::peak).collect();
    assert!(peaks.iter().all(|peak| *peak <= 8) && peaks[0] > 0 && peaks[1] > 0, "{peaks:?}");
    let (status, took) = agent.terminate();
    assert!(status.success() && took < Duration::from_secs(10), "{status} {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_with_many_silent_destinations_delays_no_other_caller() {
    let dir = tempfile::tempdir().unwrap();
    let agent = started(dir.path());
    let mut node = ManagementNode::answering([]).await;
    let (mut receivers, mut accepted) = (Vec::new(), 0);
    for _ in 0..16 {
        let receiver = SilentReceiver::start(Silence::NeverAnswers).await;
        accepted += flood(&agent, "127.0.0.2", &receiver.url()).await;
        receivers.push(receiver);
    }
    assert!((200..=256).contains(&accepted), "{accepted}");
    assert!(receivers.iter().map(SilentReceiver::peak).sum::<usize>() <= 32);
    for caller in ["127.0.0.3", "127.0.0.4"] {
        expect_prompt_reply(&agent, caller, &mut node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_names_a_slow_page_of_a_receiver_delays_no_other_caller_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let agent = started(dir.path());
    let mut node = ManagementNode::scripted(|received| {
        if received.header("taskuuid") == "good" { Answer::Status(200) } else { Answer::Never }
    })
    .await;
    flood(&agent, "127.0.0.2", &node.url()).await;
    expect_prompt_reply(&agent, "127.0.0.3", &mut node).await;
    assert!(node.peak() <= 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_to_a_receiver_that_answers_is_posted_in_full() {
    let dir = tempfile::tempdir().unwrap();
    let agent = started(dir.path());
    let mut node = ManagementNode::answering([]).await;
    let pings = (0..128).map(|n| {
        let (agent, url) = (&agent, node.url());
        async move { ping(agent, "127.0.0.1", &format!("task-{n}"), &url).await.status }
    });
    let mut statuses = Vec::new();
    for ping in pings {
        statuses.push(ping.await);
    }
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let mut tasks = std::collections::BTreeSet::new();
    while tasks.len() < 128 {
        tasks.insert(node.next().await.header("taskuuid").to_owned());
    }
}
