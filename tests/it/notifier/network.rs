//! Broken connections, and receivers with another clock.

use super::*;
use crate::support::faulty_http_server::{Action, FaultyHttpServer};
use crate::support::management_node::Answer;

fn to(
    fixture: &NotifierFixture,
    node: &ManagementNode,
    receiver: &FaultyHttpServer,
    whole: Duration,
) -> RunningNotifier {
    let urls = vec![format!("http://{}/events", receiver.address)];
    let settings = CallbackSettings { urls, ..Settings::built_in().callback };
    let limits = RequestTimeouts { total: whole, ..RequestTimeouts::default() };
    let client =
        CallbackClient::new(&settings, &FilePolicy::of_process(), limits).unwrap().unwrap();
    RunningNotifier::new(NotifierContext { client, ..fixture.means(node) })
}

#[tokio::test]
async fn a_connection_that_is_reset_loses_nothing() {
    let fixture = NotifierFixture::with(1).await;
    let node = ManagementNode::answering([]).await;
    let mut receiver = FaultyHttpServer::start(|connection, request| match (connection, request) {
        (0, _) | (1, 1) => Action::Resets,
        _ => Action::Accepts,
    })
    .await;
    let notifier = to(&fixture, &node, &receiver, Duration::from_secs(5));
    fixture.enqueue(1, 1..=3).await;
    notifier.handle.notify_changed(uuid(1));
    notifier.idle(3).await;
    let mut ids = Vec::new();
    while ids.last() != Some(&id(1, 3)) {
        let head = receiver.next().await.head;
        let of = head.lines().find_map(|line| line.strip_prefix("webhook-id: "));
        ids.push(of.unwrap().to_owned());
    }
    ids.dedup();
    assert_eq!(ids, [id(1, 1), id(1, 2), id(1, 3)]);
}

#[tokio::test]
async fn a_kept_connection_that_has_gone_dark_costs_one_try() {
    let fixture = NotifierFixture::with(1).await;
    let node = ManagementNode::answering([]).await;
    let mut receiver = FaultyHttpServer::start(|connection, request| match (connection, request) {
        (0, 1..) => Action::NeverAnswers,
        _ => Action::Accepts,
    })
    .await;
    let notifier = to(&fixture, &node, &receiver, Duration::from_secs(1));
    fixture.enqueue(1, [1, 2]).await;
    notifier.handle.notify_changed(uuid(1));
    let connections = [receiver.next().await, receiver.next().await, receiver.next().await];
    assert_eq!(connections.map(|came| came.connection), [0, 0, 1]);
    notifier.idle(2).await;
    assert_eq!(notifier.handle.notifier_status().tries, 3);
}

/// The clock of the fixture stands at 2023-11-14 22:13:20.
#[tokio::test]
async fn a_date_to_come_back_at_is_kept_and_one_of_a_clock_that_is_wrong_is_bounded() {
    for (date, at_least, at_most) in [
        ("Tue, 14 Nov 2023 22:13:21 GMT", 1_000, 1_000),
        // An hour ahead, and an hour behind, where only the backoff is left.
        ("Tue, 14 Nov 2023 23:13:20 GMT", 300_000, 300_000),
        ("Tue, 14 Nov 2023 21:13:20 GMT", 0, 200),
    ] {
        let fixture = NotifierFixture::with(1).await;
        let wait = Answer::Full(429, ("retry-after", date.to_owned()), "slow down");
        let node = ManagementNode::scripted(move |_| wait.clone()).await;
        let notifier = fixture.notifier(&node);
        fixture.enqueue(1, [1]).await;
        notifier.handle.notify_changed(uuid(1));
        let status = notifier.until_delivery(1, |status| status.next_try.is_some()).await;
        let wait = status.next_try.unwrap().0 - NOW.0;
        // Some of the wait has passed when the test reads it.
        assert!((at_least - 500..=at_most).contains(&wait), "{date}: {wait} ms");
    }
}
