//! Receivers that fail, hang or are down.

use tokio::sync::Semaphore;

use imagestore_agent::common::Timestamp;
use imagestore_agent::lifecycle::{HistoryEntry, HistoryEvent};
use imagestore_agent::model::AttemptId;

use super::*;
use crate::support::management_node::Answer;

#[tokio::test]
async fn what_is_answered_500_is_sent_again_as_the_same_event() {
    let fixture = NotifierFixture::with(1).await;
    let mut node = ManagementNode::answering([Answer::Status(500), Answer::Status(503)]).await;
    let notifier = fixture.notifier(&node);
    fixture.enqueue(1, [1]).await;
    notifier.handle.notify_changed(uuid(1));
    let first = node.next().await;
    for _ in 0..2 {
        let again = node.next().await;
        assert_eq!((again.id(), &again.body), (id(1, 1).as_str(), &first.body));
    }
    notifier.idle(1).await;
    assert_eq!(notifier.handle.notifier_status().tries, 3);
    assert!(fixture.pending(1).await.is_empty());
    notifier.stop().await;
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_is_given_it() {
    let fixture = NotifierFixture::with(1).await;
    let wait = Answer::Full(429, ("retry-after", "1".to_owned()), "slow down");
    let mut node = ManagementNode::answering([wait]).await;
    let notifier = fixture.notifier(&node);
    fixture.enqueue(1, [1]).await;
    notifier.handle.notify_changed(uuid(1));
    let first = node.next().await;
    let again = node.next().await;
    assert_eq!(first.id(), again.id());
    assert!(again.at - first.at >= Duration::from_secs(1), "{:?}", again.at - first.at);
    notifier.idle(1).await;
}

#[tokio::test]
async fn a_receiver_that_hangs_is_tried_again_after_its_deadline() {
    let fixture = NotifierFixture::with(1).await;
    let mut node = ManagementNode::answering([Answer::Never]).await;
    let settings = CallbackSettings { urls: vec![node.url()], ..Settings::built_in().callback };
    let limits =
        RequestTimeouts { total: Duration::from_millis(100), ..RequestTimeouts::default() };
    let client =
        CallbackClient::new(&settings, &FilePolicy::of_process(), limits).unwrap().unwrap();
    let notifier = RunningNotifier::new(NotifierContext { client, ..fixture.means(&node) });
    fixture.enqueue(1, [1, 2]).await;
    notifier.handle.notify_changed(uuid(1));
    let ids = [node.next().await, node.next().await, node.next().await].map(|r| r.id().to_owned());
    assert_eq!(ids, [id(1, 1), id(1, 1), id(1, 2)]);
    notifier.idle(2).await;
}

#[tokio::test]
async fn a_receiver_that_was_down_gets_every_notice_in_order_when_it_is_back() {
    let fixture = NotifierFixture::with(1).await;
    let mut node = ManagementNode::answering([]).await;
    node.stop().await;
    let notifier = fixture.notifier(&node);
    fixture.enqueue(1, 1..=3).await;
    notifier.handle.notify_changed(uuid(1));
    let behind = notifier.until_delivery(1, |status| status.next_try.is_some()).await;
    assert_eq!(behind.pending, 3);
    assert!(behind.last_failure.unwrap().reply.to_string().contains("refused"));
    node.restart().await;
    for seq in 1..=3 {
        assert_eq!(node.next().await.seq(), seq);
    }
    notifier.idle(3).await;
    assert!(node.try_next().is_none());
}

#[tokio::test]
async fn one_store_waits_for_its_answer_and_the_others_do_not() {
    let fixture = NotifierFixture::with(3).await;
    let permits = Arc::new(Semaphore::new(0));
    let (handler_permits, slow) = (Arc::clone(&permits), store_text(1));
    let mut node = ManagementNode::scripted(move |received| {
        let gated = received.store() == slow;
        if gated {
            Answer::AfterPermit(200, Arc::clone(&handler_permits))
        } else {
            Answer::Status(200)
        }
    })
    .await;
    let notifier = fixture.notifier(&node);
    for n in 1..=3 {
        fixture.enqueue(n, 1..=4).await;
        notifier.handle.notify_changed(uuid(n));
    }
    // Stores 2 and 3 are delivered while store 1 still waits for its first response.
    notifier.until_status(|status| status.delivered == 8 && status.deliveries.len() == 1).await;
    permits.add_permits(4);
    notifier.idle(12).await;
    let mut events = Vec::new();
    while let Some(received) = node.try_next() {
        events.push((received.store().to_owned(), received.seq()));
    }
    for n in 1..=3 {
        let of_store = events.iter().filter(|(store, _)| *store == store_text(n));
        assert!(of_store.map(|(_, seq)| *seq).eq(1..=4), "{events:?}");
    }
}

#[tokio::test]
async fn no_more_than_32_requests_are_open_at_once() {
    const STORES: u128 = 48;
    let fixture = NotifierFixture::with(STORES).await;
    let permits = Arc::new(Semaphore::new(0));
    let handler_permits = Arc::clone(&permits);
    let mut node =
        ManagementNode::scripted(move |_| Answer::AfterPermit(200, Arc::clone(&handler_permits)))
            .await;
    let notifier = fixture.notifier(&node);
    for n in 1..=STORES {
        fixture.enqueue(n, [1]).await;
        notifier.handle.notify_changed(uuid(n));
    }
    for _ in 0..32 {
        node.next().await;
    }
    permits.add_permits(48);
    notifier.idle(48).await;
    assert_eq!(node.peak(), 32);
}

#[tokio::test]
async fn the_delivery_of_a_removed_store_ends() {
    let fixture = NotifierFixture::with(1).await;
    let mut node = ManagementNode::scripted(|_| Answer::Status(500)).await;
    let notifier = fixture.notifier(&node);
    fixture.enqueue(1, [1]).await;
    notifier.handle.notify_changed(uuid(1));
    node.next().await;
    let event = HistoryEvent::StoreRemoved { name: "images".to_owned() };
    let removed = HistoryEntry { at: Timestamp(0), attempt: AttemptId(1), event };
    fixture.ledger().commit(LedgerChange::new().remove_store(uuid(1), removed)).await.unwrap();
    notifier.idle(0).await;
    assert_eq!(notifier.handle.notifier_status().delivered, 0);
    notifier.stop().await;
}

#[tokio::test]
async fn more_than_max_pending_fold_into_one_of_the_current_state() {
    let fixture = NotifierFixture::with(1).await;
    let wait = || Answer::Full(503, ("retry-after", "300".to_owned()), "");
    let node = ManagementNode::scripted(move |_| wait()).await;
    let notifier =
        RunningNotifier::new(NotifierContext { max_pending: 10, ..fixture.means(&node) });
    fixture.enqueue(1, 1..=10).await;
    notifier.handle.notify_changed(uuid(1));
    notifier.until_delivery(1, |status| status.pending == 10 && status.next_try.is_some()).await;
    assert_eq!(fixture.pending(1).await.len(), 10);
    fixture.enqueue(1, [11]).await;
    notifier.handle.notify_changed(uuid(1));
    notifier.until_delivery(1, |status| status.pending == 1).await;
    let [folded] = &fixture.pending(1).await[..] else { panic!() };
    assert_eq!((folded.transition_count, folded.position.seq.0), (11, 11));
    assert_eq!(folded.old_status, notice(1, 1).old_status);
    assert_eq!(folded.new_status, notice(1, 11).new_status);
    assert_eq!(notifier.handle.notifier_status().tries, 1);
}

#[tokio::test]
async fn a_long_queue_folds_whole_though_it_is_read_in_parts() {
    let fixture = NotifierFixture::with(1).await;
    let node = ManagementNode::scripted(|_| Answer::Status(410)).await;
    fixture.enqueue(1, 1..=700).await;
    let notifier =
        RunningNotifier::new(NotifierContext { max_pending: 600, ..fixture.means(&node) });
    notifier.until_status(|status| status.gone).await;
    let [folded] = &fixture.pending(1).await[..] else { panic!() };
    assert_eq!((folded.transition_count, folded.position.seq.0), (700, 700));
}
