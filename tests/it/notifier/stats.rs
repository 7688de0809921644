//! The counts of deliveries.

use imagestore_agent::delivery::DeliveryOutcome;
use imagestore_agent::notifier::{DeliveryStats, DeliveryWord};

use super::failover::of_two;
use super::*;
use crate::support::management_node::Answer;

/// Returns the counts by word, and checks that each of the requests has a duration.
fn counts(stats: &DeliveryStats) -> Vec<(&'static str, u64)> {
    let counts = stats.deliveries.values();
    let requests: u64 = counts.iter().map(|(_, count)| count).sum();
    assert_eq!(stats.durations.snapshot().count, requests);
    let occurred = counts.into_iter().filter(|(_, count)| *count > 0);
    occurred.map(|(word, count)| (word.as_str(), count)).collect()
}

#[tokio::test]
async fn each_request_counts_by_the_meaning_of_its_reply() {
    let fixture = NotifierFixture::with(3).await;
    let rejected = store_text(2);
    let node = ManagementNode::scripted(move |received| {
        Answer::Status(if received.store() == rejected { 422 } else { 200 })
    })
    .await;
    let notifier = fixture.notifier(&node);
    assert_eq!(counts(notifier.handle.delivery_stats()), []);
    fixture.enqueue(1, [1, 2]).await;
    notifier.handle.notify_changed(uuid(1));
    notifier.idle(2).await;
    fixture.enqueue(2, [1]).await;
    notifier.handle.notify_changed(uuid(2));
    notifier.until_delivery(2, |status| status.last_failure.is_some()).await;
    let stats = notifier.handle.delivery_stats();
    assert_eq!(counts(stats), [("delivered", 2), ("rejected", 1)]);

    // The newer notice takes the place of the rejected one.
    fixture.enqueue(2, [2]).await;
    notifier.handle.notify_changed(uuid(2));
    notifier.until_status(|status| status.tries == 4).await;
    assert_eq!(counts(stats), [("delivered", 2), ("rejected", 2)]);
    assert_eq!(stats.folded.value(), 1);

    node.set_script(|_| Answer::Status(410));
    fixture.enqueue(3, [1]).await;
    notifier.handle.notify_changed(uuid(3));
    notifier.until_status(|status| status.gone).await;
    assert_eq!(counts(stats), [("delivered", 2), ("rejected", 2), ("gone", 1)]);

    // The next start counts from 0.
    notifier.stop().await;
    node.set_script(|_| Answer::Full(503, ("retry-after", "300".to_owned()), ""));
    let again = fixture.notifier(&node);
    assert_eq!(counts(again.handle.delivery_stats()), []);
    again.until_status(|status| status.tries == 2).await;
    assert_eq!(counts(again.handle.delivery_stats()), [("retry", 2)]);
    assert_eq!(again.handle.delivery_stats().folded.value(), 0);
}

#[tokio::test]
async fn a_request_to_the_next_receiver_is_one_more() {
    let fixture = NotifierFixture::with(1).await;
    let first = ManagementNode::answering([Answer::Status(503)]).await;
    let second = ManagementNode::answering([]).await;
    let notifier = of_two(&fixture, &first, &second);
    fixture.enqueue(1, [1]).await;
    notifier.handle.notify_changed(uuid(1));
    notifier.idle(1).await;
    assert_eq!(counts(notifier.handle.delivery_stats()), [("delivered", 1), ("retry", 1)]);
    assert_eq!(notifier.handle.notifier_status().tries, 1);
}

#[tokio::test]
async fn notices_that_are_coalesced_in_parts_count_once_each() {
    let fixture = NotifierFixture::with(1).await;
    let node = ManagementNode::answering([]).await;
    fixture.enqueue(1, 1..=700).await;
    let notifier =
        RunningNotifier::new(NotifierContext { max_pending: 600, ..fixture.means(&node) });
    notifier.idle(1).await;
    assert_eq!(notifier.handle.delivery_stats().folded.value(), 699);
}

#[test]
fn each_meaning_of_a_reply_has_its_word() {
    let word = |outcome| DeliveryWord::from(outcome).as_str();
    for (outcome, expected) in [
        (DeliveryOutcome::Delivered, "delivered"),
        (DeliveryOutcome::NoHandler, "no_handler"),
        (DeliveryOutcome::Retry(Duration::from_secs(3)), "retry"),
        (DeliveryOutcome::Rejected, "rejected"),
        (DeliveryOutcome::Gone, "gone"),
    ] {
        assert_eq!(word(outcome), expected);
    }
}
