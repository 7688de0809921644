//! Receivers that refuse events.

use imagestore_agent::delivery::DeliveryOutcome;

use super::*;
use crate::support::management_node::Answer;

#[tokio::test]
async fn a_refusal_is_shown_and_the_next_transition_folds_what_waits_and_is_tried_at_once() {
    let fixture = NotifierFixture::with(1).await;
    let no = Answer::Full(404, ("x-why", "none".to_owned()), "no such hook");
    let mut node = ManagementNode::answering([no]).await;
    let notifier = fixture.notifier(&node);
    fixture.enqueue(1, [1]).await;
    notifier.handle.notify_changed(uuid(1));
    assert_eq!(node.next().await.seq(), 1);
    let status = notifier.until_delivery(1, |status| status.next_try.is_some()).await;
    let trouble = status.last_failure.unwrap();
    assert_eq!(trouble.outcome, DeliveryOutcome::Rejected);
    assert_eq!(trouble.reply.to_string(), "status 404: no such hook");
    let wait = status.next_try.unwrap().0 - NOW.0;
    assert!((290_000..=300_000).contains(&wait), "{wait}");

    fixture.enqueue(1, [2, 3, 4]).await;
    notifier.handle.notify_changed(uuid(1));
    let received = node.next().await;
    let data = &received.json["data"];
    let resync = format!("{}.resync.{}", id(1, 4), NOW.0);
    assert_eq!((received.id(), received.seq()), (resync.as_str(), 4));
    assert_eq!(data["folded"], 4);
    assert_eq!(
        (&data["oldStatus"], &data["newStatus"]),
        (&"Connected".into(), &"Connected".into())
    );
    assert_eq!(received.json["type"], "backup-storage.status.resync");
    notifier.idle(1).await;
    assert!(fixture.pending(1).await.is_empty());
    assert!(node.try_next().is_none());
}

#[tokio::test]
async fn a_refusal_of_one_store_does_not_concern_another() {
    let fixture = NotifierFixture::with(2).await;
    let refused = store_text(1);
    let node = ManagementNode::scripted(move |received| {
        Answer::Status(if received.store() == refused { 422 } else { 204 })
    })
    .await;
    let notifier = fixture.notifier(&node);
    for n in [1, 2] {
        fixture.enqueue(n, [1]).await;
        notifier.handle.notify_changed(uuid(n));
    }
    let status = notifier.until_status(|status| status.delivered == 1 && status.tries == 2).await;
    assert_eq!(
        status.deliveries[&uuid(1)].last_failure.as_ref().unwrap().outcome,
        DeliveryOutcome::Rejected
    );
    assert!(fixture.pending(2).await.is_empty());
    assert_eq!(seqs(&fixture.pending(1).await), [1]);
}

#[tokio::test]
async fn a_redirect_is_a_refusal_and_is_not_followed() {
    let fixture = NotifierFixture::with(1).await;
    let mut elsewhere = ManagementNode::answering([]).await;
    let redirect = Answer::Full(302, ("location", elsewhere.url()), "");
    let node = ManagementNode::answering([redirect]).await;
    let notifier = fixture.notifier(&node);
    fixture.enqueue(1, [1]).await;
    notifier.handle.notify_changed(uuid(1));
    let status = notifier.until_delivery(1, |status| status.next_try.is_some()).await;
    assert_eq!(status.last_failure.unwrap().outcome, DeliveryOutcome::Rejected);
    assert!(elsewhere.try_next().is_none());
    assert_eq!(seqs(&fixture.pending(1).await), [1]);
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_sent_nothing_more_by_any_store() {
    let fixture = NotifierFixture::with(2).await;
    let node = ManagementNode::answering([Answer::Status(410)]).await;
    let notifier = fixture.notifier(&node);
    fixture.enqueue(1, [1]).await;
    notifier.handle.notify_changed(uuid(1));
    notifier.until_status(|status| status.gone).await;
    for (n, seq) in [(1, 2), (2, 1)] {
        fixture.enqueue(n, [seq]).await;
        notifier.handle.notify_changed(uuid(n));
    }
    notifier.until_delivery(1, |status| status.pending == 2).await;
    let status = notifier.until_delivery(2, |status| status.pending == 1).await;
    assert_eq!(status.next_try, None);
    assert_eq!(notifier.handle.notifier_status().tries, 1);
    notifier.stop().await;
    assert_eq!(seqs(&fixture.pending(1).await), [1, 2]);
    assert_eq!(seqs(&fixture.pending(2).await), [1]);

    // The operator restarts the daemon.
    let notifier = fixture.notifier(&node);
    notifier.idle(3).await;
}

#[tokio::test]
async fn a_notice_that_a_management_node_has_no_handler_for_counts_as_delivered_and_is_reported() {
    let fixture = NotifierFixture::with(1).await;
    let mut node = ManagementNode::scripted(|_| Answer::Status(404)).await;
    let means = NotifierContext { format: EventFormat::ZStack, ..fixture.means(&node) };
    let notifier = RunningNotifier::new(means);
    fixture.enqueue(1, [1]).await;
    notifier.handle.notify_changed(uuid(1));
    let (change, drop) = (node.next().await, node.next().await);
    assert_eq!(change.header("commandpath"), "/backup-storage/status/change");
    assert_eq!(drop.header("commandpath"), "/backup-storage/disconnected");
    assert_ne!(change.id(), drop.id());
    notifier.idle(1).await;
    let unhandled = notifier.handle.notifier_status().unhandled.unwrap();
    assert_eq!(unhandled.to_string(), "status 404");
    assert!(fixture.pending(1).await.is_empty());

    node.set_script(|_| Answer::Status(200));
    fixture.enqueue(1, [2]).await;
    notifier.handle.notify_changed(uuid(1));
    notifier.idle(2).await;
    assert_eq!(notifier.handle.notifier_status().unhandled, None);
}

#[tokio::test]
async fn of_two_requests_of_a_notice_only_the_one_that_failed_is_sent_again() {
    let fixture = NotifierFixture::with(1).await;
    let mut node = ManagementNode::answering([Answer::Status(200), Answer::Status(500)]).await;
    let means = NotifierContext { format: EventFormat::ZStack, ..fixture.means(&node) };
    let notifier = RunningNotifier::new(means);
    fixture.enqueue(1, [1]).await;
    notifier.handle.notify_changed(uuid(1));
    let mut paths = Vec::new();
    for _ in 0..3 {
        paths.push(node.next().await.header("commandpath").to_owned());
    }
    let (change, drop) = ("/backup-storage/status/change", "/backup-storage/disconnected");
    assert_eq!(paths, [change, drop, drop]);
    notifier.idle(1).await;
    assert!(node.try_next().is_none());
}
