//! A committed notice counts as pending until a receiver took it.

use tokio::sync::Semaphore;

use super::*;
use crate::support::management_node::Answer;

/// A receiver that answers as many requests as the semaphore has permits.
async fn held_receiver() -> (ManagementNode, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&permits);
    let node = ManagementNode::scripted(move |_| Answer::AfterPermit(200, Arc::clone(&held))).await;
    (node, permits)
}

impl RunningNotifier {
    /// Signals a committed notice as a store task does.
    fn on_committed(&self, n: u128) {
        self.handle.mark_pending(uuid(n));
        self.handle.notify_changed(uuid(n));
    }

    fn pending(&self, n: u128) -> u64 {
        self.handle.delivery_status(uuid(n)).map_or(0, |status| status.pending)
    }

    /// Waits until the outbox was read after the start.
    async fn backlog_read(&self) {
        let mut status = self.handle.watch_status();
        let read = async {
            while self.handle.delivery_status(uuid(9999)).is_some() {
                status.changed().await.unwrap();
            }
        };
        timeout(TEST_TIMEOUT, read).await.expect("the outbox is not read");
    }
}

#[tokio::test]
async fn a_store_that_waits_for_its_turn_behind_a_slow_receiver_has_its_notice_pending() {
    const STORES: u128 = 40;
    let fixture = NotifierFixture::with(STORES).await;
    let (mut node, permits) = held_receiver().await;
    let notifier = fixture.notifier(&node);
    notifier.backlog_read().await;
    for n in 1..STORES {
        fixture.enqueue(n, [1]).await;
        notifier.on_committed(n);
    }
    for _ in 0..32 {
        node.next().await;
    }
    fixture.enqueue(STORES, 1..=2).await;
    notifier.on_committed(STORES);
    notifier.on_committed(STORES);
    for n in 1..STORES {
        assert_eq!(notifier.pending(n), 1, "{n}");
    }
    assert_eq!(notifier.pending(STORES), 2);
    assert_eq!(notifier.handle.waiting_notices().pending, 41);
    permits.add_permits(100);
    notifier.idle(41).await;
    assert_eq!(notifier.handle.waiting_notices().pending, 0);
}

#[tokio::test]
async fn a_committed_notice_is_pending_before_the_notifier_runs() {
    let fixture = NotifierFixture::with(2).await;
    let (mut node, permits) = held_receiver().await;
    let notifier = fixture.notifier(&node);
    notifier.backlog_read().await;
    assert_eq!(notifier.pending(1), 0);
    fixture.enqueue(1, [1]).await;
    // No other task runs before the next `await` on this thread.
    notifier.handle.mark_pending(uuid(1));
    assert_eq!((notifier.pending(1), notifier.pending(2)), (1, 0));
    notifier.handle.notify_changed(uuid(1));
    assert_eq!(node.next().await.seq(), 1);
    assert_eq!(notifier.pending(1), 1);
    // One that is committed while the last counted notice is sent is pending after it.
    fixture.enqueue(1, [2]).await;
    notifier.on_committed(1);
    assert_eq!(notifier.pending(1), 2);
    permits.add_permits(1);
    let smallest = Arc::new(std::sync::Mutex::new(u64::MAX));
    let seen = Arc::clone(&smallest);
    let sent = notifier.until_status(move |status| {
        let pending = status.deliveries.get(&uuid(1)).map_or(0, |delivery| delivery.pending);
        let mut seen = seen.lock().unwrap();
        *seen = pending.min(*seen);
        status.delivered == 1 && pending == 1
    });
    sent.await;
    assert_eq!(node.next().await.seq(), 2);
    assert_eq!((*smallest.lock().unwrap(), notifier.pending(1)), (1, 1));
    permits.add_permits(1);
    notifier.idle(2).await;
    assert_eq!(notifier.pending(1), 0);
}

#[tokio::test]
async fn the_notices_from_before_the_start_are_pending_from_the_start() {
    let fixture = NotifierFixture::with(1).await;
    fixture.enqueue(1, [1]).await;
    let (mut node, permits) = held_receiver().await;
    let spread = Duration::from_mins(1);
    let means = NotifierContext { start_spread: spread, ..fixture.means(&node) };
    let notifier = RunningNotifier::new(means);
    // The notifier has not run yet.
    assert_eq!((notifier.pending(1), notifier.handle.waiting_notices().pending), (1, 1));
    let waits = notifier.until_delivery(1, |status| status.next_try.is_some()).await;
    assert_eq!(waits.pending, 1);
    permits.add_permits(1);
    notifier.stop().await;
    assert_eq!(node.next().await.seq(), 1);
}
