//! Stops, starts, and a ledger that cannot record acknowledgements.

use tokio::sync::Semaphore;

use super::*;
use crate::support::management_node::Answer;

#[tokio::test]
async fn what_was_not_acknowledged_goes_out_again_from_the_lowest_position() {
    let fixture = NotifierFixture::with(1).await;
    let mut node = ManagementNode::scripted(|_| Answer::Never).await;
    let notifier = fixture.notifier(&node);
    fixture.enqueue(1, 1..=3).await;
    notifier.handle.notify_changed(uuid(1));
    assert_eq!(node.next().await.seq(), 1);
    // As in a crash: in the middle of a request and without a stop.
    drop(notifier);
    node.set_script(|_| Answer::Status(200));
    let notifier = fixture.notifier(&node);
    for seq in 1..=3 {
        assert_eq!(node.next().await.seq(), seq);
    }
    notifier.idle(3).await;
    assert!(fixture.pending(1).await.is_empty());
}

#[tokio::test]
async fn a_stop_lets_the_request_in_flight_finish_and_begins_no_other() {
    let fixture = NotifierFixture::with(1).await;
    let permits = Arc::new(Semaphore::new(0));
    let handler_permits = Arc::clone(&permits);
    let mut node =
        ManagementNode::scripted(move |_| Answer::AfterPermit(200, Arc::clone(&handler_permits)))
            .await;
    let notifier = fixture.notifier(&node);
    fixture.enqueue(1, [1, 2]).await;
    notifier.handle.notify_changed(uuid(1));
    assert_eq!(node.next().await.seq(), 1);
    notifier.stop.cancel();
    permits.add_permits(2);
    notifier.stop().await;
    assert!(node.try_next().is_none());
    assert_eq!(seqs(&fixture.pending(1).await), [2]);
}

#[tokio::test]
async fn what_was_enqueued_just_before_the_stop_has_one_try() {
    let fixture = NotifierFixture::with(2).await;
    let mut node = ManagementNode::scripted(|_| Answer::Status(500)).await;
    let means = fixture.means(&node);
    let stop = CancellationToken::new();
    let (handle, notifier) = NotifierTask::new(means, stop.clone());
    fixture.enqueue(1, [1]).await;
    handle.notify_changed(uuid(1));
    stop.cancel();
    timeout(TEST_TIMEOUT, notifier.run_notifier()).await.unwrap().unwrap();
    assert_eq!(node.next().await.seq(), 1);
    assert!(node.try_next().is_none());
    assert_eq!(seqs(&fixture.pending(1).await), [1]);
}

#[tokio::test]
async fn what_waits_in_backoff_has_one_last_try_at_the_stop() {
    let fixture = NotifierFixture::with(1).await;
    let wait = || Answer::Full(503, ("retry-after", "300".to_owned()), "slow down");
    let mut node = ManagementNode::answering([wait(), wait()]).await;
    let notifier = fixture.notifier(&node);
    fixture.enqueue(1, [1, 2]).await;
    notifier.handle.notify_changed(uuid(1));
    node.next().await;
    notifier.until_delivery(1, |status| status.next_try.is_some()).await;
    notifier.stop().await;
    assert_eq!(node.next().await.seq(), 1);
    assert!(node.try_next().is_none());

    // A transition just before the stop changes nothing about that.
    node.set_script(move |_| wait());
    let notifier = fixture.notifier(&node);
    node.next().await;
    notifier.until_delivery(1, |status| status.next_try.is_some()).await;
    fixture.enqueue(1, [3]).await;
    notifier.handle.notify_changed(uuid(1));
    notifier.stop().await;
    assert_eq!(node.next().await.seq(), 1);
    assert!(node.try_next().is_none());
    assert_eq!(seqs(&fixture.pending(1).await), [1, 2, 3]);
}

#[tokio::test]
async fn what_is_refused_is_not_tried_again_at_the_stop() {
    let fixture = NotifierFixture::with(1).await;
    let mut node = ManagementNode::scripted(|_| Answer::Status(422)).await;
    let notifier = fixture.notifier(&node);
    fixture.enqueue(1, [1]).await;
    notifier.handle.notify_changed(uuid(1));
    node.next().await;
    notifier.until_delivery(1, |status| status.next_try.is_some()).await;
    notifier.stop().await;
    assert!(node.try_next().is_none());
    assert_eq!(seqs(&fixture.pending(1).await), [1]);
}

#[tokio::test]
async fn a_receiver_that_hangs_does_not_hold_the_stop() {
    let fixture = NotifierFixture::with(1).await;
    let mut node = ManagementNode::scripted(|_| Answer::Never).await;
    let means = NotifierContext {
        last_delivery_timeout: Duration::from_millis(50),
        ..fixture.means(&node)
    };
    let notifier = RunningNotifier::new(means);
    fixture.enqueue(1, [1]).await;
    notifier.handle.notify_changed(uuid(1));
    node.next().await;
    timeout(Duration::from_secs(2), notifier.stop()).await.expect("the receiver holds the request");
    assert_eq!(seqs(&fixture.pending(1).await), [1]);
}

#[tokio::test]
async fn a_failed_acknowledgement_causes_no_second_delivery_and_delivery_continues() {
    let fixture = NotifierFixture::with(1).await;
    let mut node = ManagementNode::answering([]).await;
    // A trigger in the database makes every acknowledgement fail.
    let database = rusqlite::Connection::open(fixture.path().join("ledger.sqlite")).unwrap();
    database
        .execute_batch(
            "CREATE TRIGGER keep BEFORE DELETE ON outbox BEGIN SELECT RAISE(ABORT, 'kept'); END",
        )
        .unwrap();
    let notifier = fixture.notifier(&node);
    fixture.enqueue(1, 1..=3).await;
    notifier.handle.notify_changed(uuid(1));
    for seq in 1..=3 {
        assert_eq!(node.next().await.seq(), seq);
    }
    // All are delivered; the delivery stays until the ledger has recorded them.
    notifier.until_delivery(1, |status| status.pending == 0 && status.next_try.is_some()).await;
    assert_eq!(seqs(&fixture.pending(1).await), [1, 2, 3]);
    fixture.enqueue(1, [4]).await;
    notifier.handle.notify_changed(uuid(1));
    assert_eq!(node.next().await.seq(), 4);

    database.execute_batch("DROP TRIGGER keep").unwrap();
    notifier.idle(4).await;
    assert!(fixture.pending(1).await.is_empty());
    assert!(node.try_next().is_none());
}

#[tokio::test]
async fn a_damaged_notice_is_reported_and_not_sent_and_other_stores_continue() {
    let fixture = NotifierFixture::with(2).await;
    let mut node = ManagementNode::answering([]).await;
    fixture.enqueue(1, 1..=2).await;
    let database = rusqlite::Connection::open(fixture.path().join("ledger.sqlite")).unwrap();
    let damage =
        "UPDATE outbox SET notice = replace(notice, 'Connected', 'Connecting') WHERE seq = 1";
    database.execute_batch(damage).unwrap();
    fixture.enqueue(2, [7]).await;
    let notifier = fixture.notifier(&node);
    assert_eq!(node.next().await.seq(), 7);
    let status = notifier.until_delivery(1, |status| status.last_failure.is_some()).await;
    let reply_text = status.last_failure.unwrap().reply.to_string();
    let expected = "not sent: outbox read failed: ";
    assert!(reply_text.starts_with(expected) && reply_text.contains("checksum"), "{reply_text}");
    assert_eq!((status.pending, status.next_try.is_some()), (2, true));
    assert!(node.try_next().is_none());
}

#[tokio::test]
async fn the_backlog_of_a_start_is_spread() {
    const STORES: u128 = 8;
    let fixture = NotifierFixture::with(STORES).await;
    for n in 1..=STORES {
        fixture.enqueue(n, [1]).await;
    }
    let node = ManagementNode::answering([]).await;
    let spread = Duration::from_mins(1);
    let means = NotifierContext { start_spread: spread, ..fixture.means(&node) };
    let notifier = RunningNotifier::new(means);
    let waits = |status: &NotifierStatus| {
        status.deliveries.values().filter(|status| status.next_try.is_some()).count()
    };
    let status = notifier.until_status(|status| waits(status) >= 7).await;
    let mut tries: Vec<i64> =
        status.deliveries.values().filter_map(|status| Some(status.next_try?.0 - NOW.0)).collect();
    tries.sort_unstable();
    assert!(tries.iter().all(|wait| *wait <= 60_000), "{tries:?}");
    assert!(tries[tries.len() - 1] - tries[0] > 20_000, "{tries:?}");
}
