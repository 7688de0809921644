//! Several receivers behind `callback.urls`: the notifier sends to one at a time, the first that is
//! up.

use imagestore_agent::delivery::DeliveryOutcome;
use imagestore_agent::management::{CallbackClient, RequestTimeouts};
use imagestore_agent::notifier::NotifierContext;
use imagestore_agent::settings::{CallbackSettings, FilePolicy, Settings};
use tokio::time::{Instant, interval};

use super::*;
use crate::support::management_node::Answer;

/// Starts a notifier that prefers the first of two receivers.
pub(super) fn of_two(
    fixture: &NotifierFixture,
    first: &ManagementNode,
    second: &ManagementNode,
) -> RunningNotifier {
    let urls = vec![first.url(), second.url()];
    let settings = CallbackSettings { urls, ..Settings::built_in().callback };
    let client =
        CallbackClient::new(&settings, &FilePolicy::of_process(), RequestTimeouts::default())
            .unwrap()
            .unwrap();
    RunningNotifier::new(NotifierContext { client, ..fixture.means(first) })
}

async fn send(fixture: &NotifierFixture, notifier: &RunningNotifier, seq: u64) {
    fixture.enqueue(1, [seq]).await;
    notifier.handle.notify_changed(uuid(1));
}

#[tokio::test]
async fn a_notice_goes_to_the_next_receiver_at_once_and_returns_when_the_first_is_back() {
    let fixture = NotifierFixture::with(1).await;
    let mut first = ManagementNode::answering([]).await;
    let mut second = ManagementNode::answering([]).await;
    let notifier = of_two(&fixture, &first, &second);
    send(&fixture, &notifier, 1).await;
    assert_eq!(first.next().await.seq(), 1);
    notifier.idle(1).await;

    first.stop().await;
    let begun = Instant::now();
    send(&fixture, &notifier, 2).await;
    assert_eq!(second.next().await.seq(), 2);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    notifier.idle(2).await;
    let host = |node: &ManagementNode| node.url().split('/').nth(2).unwrap().to_owned();
    assert_eq!(notifier.handle.active_endpoint(), Some(host(&second)));

    // All events arrive in order, at whichever receiver; in the end the first one is used again.
    first.restart().await;
    let mut looks = interval(Duration::from_millis(100));
    for seq in 3.. {
        assert!(begun.elapsed() < TEST_TIMEOUT, "the first receiver gets no events again");
        looks.tick().await;
        send(&fixture, &notifier, seq).await;
        notifier.idle(seq).await;
        match (first.try_next(), second.try_next()) {
            (Some(received), None) => {
                assert_eq!(received.seq(), seq);
                break;
            }
            (None, Some(received)) => assert_eq!(received.seq(), seq),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(notifier.handle.active_endpoint(), Some(host(&first)));
}

#[tokio::test]
async fn a_server_error_goes_on_and_a_refusal_does_not() {
    let fixture = NotifierFixture::with(1).await;
    let mut first = ManagementNode::answering([Answer::Status(503)]).await;
    let mut second = ManagementNode::answering([]).await;
    let notifier = of_two(&fixture, &first, &second);
    send(&fixture, &notifier, 1).await;
    assert_eq!((first.next().await.id(), second.next().await.id()), (&*id(1, 1), &*id(1, 1)));
    notifier.idle(1).await;
    notifier.stop().await;

    let first = ManagementNode::answering([Answer::Status(400)]).await;
    let notifier = of_two(&fixture, &first, &second);
    send(&fixture, &notifier, 2).await;
    let status = notifier.until_delivery(1, |status| status.next_try.is_some()).await;
    assert_eq!(status.last_failure.unwrap().outcome, DeliveryOutcome::Rejected);
    assert!(second.try_next().is_none());
}

#[tokio::test]
async fn when_all_are_down_the_notice_waits_and_is_not_lost() {
    let fixture = NotifierFixture::with(1).await;
    let mut first = ManagementNode::answering([]).await;
    let mut second = ManagementNode::answering([]).await;
    first.stop().await;
    second.stop().await;
    let notifier = of_two(&fixture, &first, &second);
    send(&fixture, &notifier, 1).await;
    let status = notifier.until_delivery(1, |status| status.next_try.is_some()).await;
    assert!(matches!(status.last_failure.unwrap().outcome, DeliveryOutcome::Retry(_)));
    second.restart().await;
    assert_eq!(second.next().await.seq(), 1);
    notifier.idle(1).await;
}

#[tokio::test]
async fn one_that_is_gone_is_passed_over_and_all_that_are_come_back_when_a_person_acts() {
    let fixture = NotifierFixture::with(1).await;
    let mut first = ManagementNode::answering([Answer::Status(410)]).await;
    let mut second = ManagementNode::answering([Answer::Status(200), Answer::Status(410)]).await;
    let notifier = of_two(&fixture, &first, &second);
    send(&fixture, &notifier, 1).await;
    assert_eq!((first.next().await.seq(), second.next().await.seq()), (1, 1));
    notifier.idle(1).await;
    assert!(!notifier.handle.notifier_status().gone);

    send(&fixture, &notifier, 2).await;
    assert_eq!(second.next().await.seq(), 2);
    notifier.until_status(|status| status.gone).await;
    assert!(first.try_next().is_none());
    assert_eq!(notifier.handle.active_endpoint(), None);

    notifier.handle.reset_gone();
    assert_eq!(first.next().await.seq(), 2);
    notifier.idle(2).await;
    assert!(!notifier.handle.notifier_status().gone);
}
