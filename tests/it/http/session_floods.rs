//! Floods of invented sessions of the management node.

use std::sync::Arc;
use std::time::Duration;

use imagestore_agent::management::SessionCheckTimes;
use imagestore_agent::model::Role;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

use super::session_check::{
    LIST, PATH, ValidSessions, ask, check_at, lasting, outdated_at_once, questions, session,
};
use crate::support::http_server::*;
use crate::support::management_node::{Answer, ManagementNode};

/// Numbers of sessions that are valid.
const IN_USE: u32 = 1;
const NEW: u32 = 2;
/// The first number of a session that is not.
const INVENTED: u32 = 1000;
/// Questions about sessions that nothing is known about, from all sources and from one.
const UNKNOWN_PLACES: usize = 6;
const SOURCE_PLACES: usize = 2;

/// A management node that answers questions about invented sessions only with a permit.
async fn holding_node() -> (ManagementNode, Arc<Semaphore>) {
    let (sessions, permits) = (ValidSessions::of(&[IN_USE, NEW]), Arc::new(Semaphore::new(0)));
    let held = Arc::clone(&permits);
    let node = ManagementNode::scripted(move |question| {
        let body = sessions.answer(question);
        match body.contains("true") {
            true => Answer::Body(body),
            false => Answer::BodyAfterPermit(body, Arc::clone(&held)),
        }
    });
    (node.await, permits)
}

async fn list_from(server: &TestServer, source: &str, n: u32) -> HttpResponse {
    let token = session(n);
    let request = HttpRequest { token: Some(&token), ..HttpRequest::new(LIST, "") };
    exchange(server.connect_from(source).await, &request.bytes()).await
}

#[tokio::test]
async fn a_flood_from_many_sources_takes_its_places_and_no_others() {
    let (mut node, permits) = holding_node().await;
    // Each invented session waits long, and each answer is outdated at once.
    let times = SessionCheckTimes {
        place_wait: Duration::from_secs(3600),
        question: Duration::from_secs(3600),
        ..outdated_at_once()
    };
    let server = TestServer::checking_sessions(check_at(&node.url_of(PATH), Role::Read, times));
    assert_eq!(ask(&server, LIST, &session(IN_USE)).await.status, 200);
    assert_eq!(questions(&mut node), 1);
    let mut flood = Vec::new();
    for source in 2..12 {
        for n in 0..10 {
            let mut stream = server.connect_from(&format!("127.0.0.{source}")).await;
            let token = session(INVENTED + source * 100 + n);
            let request = HttpRequest { token: Some(&token), ..HttpRequest::new(LIST, "") };
            stream.write_all(&request.bytes()).await.unwrap();
            flood.push(stream);
        }
    }
    for _ in 0..UNKNOWN_PLACES {
        node.next().await;
    }
    // A session that was in use is asked about at once, however many others wait.
    for _ in 0..50 {
        assert_eq!(ask(&server, LIST, &session(IN_USE)).await.status, 200);
        node.next().await;
    }
    assert_eq!(questions(&mut node), 0);
    assert!(node.peak() <= 8, "{}", node.peak());
    permits.add_permits(flood.len());
    for stream in &mut flood {
        assert_eq!(read_answer(stream).await.status, 401);
    }
    assert!(node.peak() <= 8, "{}", node.peak());
    assert_eq!(ask(&server, LIST, &session(NEW)).await.status, 200);
}

#[tokio::test]
async fn a_new_session_waits_a_bounded_time_behind_a_flood() {
    let (mut node, permits) = holding_node().await;
    let times = SessionCheckTimes {
        place_wait: Duration::from_millis(200),
        question: Duration::from_secs(3600),
        ..lasting()
    };
    let server = TestServer::checking_sessions(check_at(&node.url_of(PATH), Role::Read, times));
    assert_eq!(ask(&server, LIST, &session(IN_USE)).await.status, 200);
    let mut flood = Vec::new();
    for (source, n) in [(2, 1), (2, 2), (3, 3), (3, 4), (4, 5), (4, 6)] {
        let mut stream = server.connect_from(&format!("127.0.0.{source}")).await;
        let token = session(INVENTED + n);
        let request = HttpRequest { token: Some(&token), ..HttpRequest::new(LIST, "") };
        stream.write_all(&request.bytes()).await.unwrap();
        flood.push(stream);
    }
    for _ in 0..UNKNOWN_PLACES + 1 {
        node.next().await;
    }
    let busy = ask(&server, LIST, &session(NEW)).await;
    assert_eq!((busy.status, busy.error("/opaque/reason")), (503, &"agent_busy".into()));
    assert_eq!(busy.header("retry-after"), Some("1"));
    // A session whose answer counts waits for nothing.
    assert_eq!(ask(&server, LIST, &session(IN_USE)).await.status, 200);
    assert_eq!(questions(&mut node), 0);
    permits.add_permits(flood.len());
    for stream in &mut flood {
        assert_eq!(read_answer(stream).await.status, 401);
    }
    assert_eq!(ask(&server, LIST, &session(NEW)).await.status, 200);
}

#[tokio::test]
async fn a_flood_from_one_source_has_its_places_and_ends_with_429() {
    let (mut node, permits) = holding_node().await;
    let times = SessionCheckTimes { question: Duration::from_secs(3600), ..lasting() };
    let times = SessionCheckTimes { place_wait: Duration::from_secs(3600), ..times };
    let server = TestServer::checking_sessions(check_at(&node.url_of(PATH), Role::Read, times));
    assert_eq!(list_from(&server, "127.0.0.2", IN_USE).await.status, 200);
    let mut flood = Vec::new();
    for n in 0..60 {
        let mut stream = server.connect_from("127.0.0.2").await;
        let token = session(INVENTED + n);
        let request = HttpRequest { token: Some(&token), ..HttpRequest::new(LIST, "") };
        stream.write_all(&request.bytes()).await.unwrap();
        flood.push(stream);
    }
    for _ in 0..SOURCE_PLACES + 1 {
        node.next().await;
    }
    // A new session from another source is not delayed, and neither is one in use from this one.
    assert_eq!(list_from(&server, "127.0.0.3", NEW).await.status, 200);
    assert_eq!(list_from(&server, "127.0.0.2", IN_USE).await.status, 200);
    node.next().await;
    assert_eq!(questions(&mut node), 0);
    permits.add_permits(flood.len());
    let mut statuses = Vec::new();
    for stream in &mut flood {
        let answer = read_answer(stream).await;
        assert_eq!(answer.header("retry-after").is_some(), answer.status == 429);
        statuses.push(answer.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [[401; 20].as_slice(), &[429; 40]].concat());
    assert_eq!(questions(&mut node), 20 - SOURCE_PLACES);
    // What was in use is accepted all the same, and nothing new from this source is.
    assert_eq!(list_from(&server, "127.0.0.2", IN_USE).await.status, 200);
    assert_eq!(list_from(&server, "127.0.0.2", 77).await.status, 429);
    assert_eq!(questions(&mut node), 0);
}
