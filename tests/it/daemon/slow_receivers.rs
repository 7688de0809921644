//! Management nodes that are slow, silent, failing or refusing: the daemon's own work does not wait
//! for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Method;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::support::agent::{Agent, TEST_TIMEOUT, callback};
use crate::support::filesystems::MountedFs;
use crate::support::management_node::{Answer, ManagementNode, Received};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, Sshd, User};

const HOURLY_PROBES: &str = "[monitor]\ninterval = \"1h\"\n";

/// A daemon with one store, its disk, its server and its user.
struct Scene {
    agent: Agent,
    uuid: String,
    disk: MountedFs,
    _sshd: Sshd,
    _user: User,
}

impl Scene {
    async fn sending_to(node: &ManagementNode) -> Self {
        let (disk, sshd, user) =
            (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
        let more = format!("{HOURLY_PROBES}{}", callback(&node.url()));
        let mut agent = Agent::installed(&disk.path(), &more);
        agent.start();
        let uuid = agent.add(&disk.path(), &sshd, &user).await;
        Self { agent, uuid, disk, _sshd: sshd, _user: user }
    }

    async fn reconnects(&self) {
        let reply = self.agent.reconnect(&self.uuid).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
}

/// Waits for the next event that the node received.
async fn next(delivered: &mut mpsc::UnboundedReceiver<Received>) -> Received {
    timeout(TEST_TIMEOUT, delivered.recv()).await.expect("nothing more was delivered").unwrap()
}

fn folded(received: &Received) -> u64 {
    received.json["data"]["folded"].as_u64().unwrap_or(1)
}

fn data<'a>(received: &'a Received, name: &str) -> &'a Value {
    &received.json["data"][name]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_management_node_delays_no_reconnect_and_gets_every_notice_in_order() {
    needs_root!();
    let permits = Arc::new(Semaphore::new(0));
    let answers = Arc::clone(&permits);
    let mut node =
        ManagementNode::scripted(move |_| Answer::AfterPermit(200, Arc::clone(&answers))).await;
    let scene = Scene::sending_to(&node).await;
    assert_eq!(node.next().await.seq(), 1);
    // The node answers the first notice only after both reconnects have been answered.
    scene.reconnects().await;
    scene.reconnects().await;
    assert_eq!(scene.agent.inventory(&scene.uuid).await["status"], "Connected");
    permits.add_permits(100);
    let mut last = 1;
    while last < 5 {
        let seq = node.next().await.seq();
        // A notice whose response came too late is sent again.
        assert!(seq == last || seq == last + 1, "{seq} after {last}");
        last = seq;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_is_pending_in_every_view_at_once_after_the_reply_to_a_reconnect() {
    needs_root!();
    let node = ManagementNode::answering([]).await;
    let scene = Scene::sending_to(&node).await;
    let (agent, uuid) = (&scene.agent, &scene.uuid);
    let added = agent.cli(&["wait", uuid, "--for", "delivered"], "");
    assert_eq!(added.status.code(), Some(0), "{added:?}");
    let permits = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&permits);
    node.set_script(move |_| Answer::AfterPermit(200, Arc::clone(&held)));
    scene.reconnects().await;
    let http = agent.http();
    let read = async |path: String| http.send_request(Method::GET, &path, None).await.unwrap().body;
    let health = read(format!("/imagestore/stores/{uuid}/health")).await;
    assert!(health["delivery"]["pending"].as_u64() >= Some(1), "{health}");
    let diagnosis = read(format!("/imagestore/diagnosis?store={uuid}")).await.to_string();
    assert!(
        diagnosis.contains("reported") && !diagnosis.contains("has every notice"),
        "{diagnosis}"
    );
    let waited = agent.cli(&["wait", uuid, "--for", "delivered", "--timeout", "0s"], "");
    assert_eq!(waited.status.code(), Some(1), "{waited:?}");
    let reconnected = agent.cli(&["reconnect", uuid, "--wait-delivered", "0s"], "");
    assert_eq!(reconnected.status.code(), Some(1), "{reconnected:?}");
    permits.add_permits(100);
    let delivered = agent.cli(&["wait", uuid, "--for", "delivered"], "");
    assert_eq!(delivered.status.code(), Some(0), "{delivered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_management_node_that_never_answers_delays_neither_a_reconnect_nor_a_stop() {
    needs_root!();
    for answer in [Answer::Never, Answer::Stalled(503)] {
        let mut node = ManagementNode::scripted(move |_| answer.clone()).await;
        let mut scene = Scene::sending_to(&node).await;
        assert_eq!(node.next().await.seq(), 1);
        scene.reconnects().await;
        let (status, took) = scene.agent.terminate();
        assert!(status.success() && took < Duration::from_secs(10), "{status} {took:?}");
        // Nothing is lost: the next start delivers all of it.
        node.set_script(|_| Answer::Status(200));
        scene.agent.start();
        let mut seen = 0;
        while seen < 3 {
            let seq = node.next().await.seq();
            assert!(seq <= seen + 1, "{seq} after {seen}");
            seen = seen.max(seq);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_management_node_that_fails_gets_each_transition_once_it_recovers() {
    needs_root!();
    let mut node = ManagementNode::scripted(|_| Answer::Status(500)).await;
    let scene = Scene::sending_to(&node).await;
    scene.reconnects().await;
    assert_eq!(node.next().await.seq(), 1);
    let (delivery_sender, mut delivered) = mpsc::unbounded_channel();
    node.set_script(move |received| {
        delivery_sender.send(received.clone()).unwrap();
        Answer::Status(200)
    });
    for (seq, old, new) in [
        (1, "Connecting", "Connected"),
        (2, "Connected", "Connecting"),
        (3, "Connecting", "Connected"),
    ] {
        let received = next(&mut delivered).await;
        assert_eq!((received.seq(), folded(&received)), (seq, 1), "a notice was folded");
        assert_eq!(
            (data(&received, "oldStatus"), data(&received, "newStatus")),
            (&old.into(), &new.into())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_behind_a_refusal_folds_into_the_current_state() {
    needs_root!();
    let (delivery_sender, mut delivered) = mpsc::unbounded_channel();
    let well = Arc::new(AtomicBool::new(false));
    let taking = Arc::clone(&well);
    let mut node = ManagementNode::scripted(move |received| {
        if !taking.load(Ordering::SeqCst) {
            return Answer::Status(404);
        }
        delivery_sender.send(received.clone()).unwrap();
        Answer::Status(200)
    })
    .await;
    let mut scene = Scene::sending_to(&node).await;
    let first = node.next().await;
    assert_eq!((first.seq(), folded(&first)), (1, 1));
    scene.agent.until_logged("404");
    scene.reconnects().await;
    // The transition triggers a delivery at once, in one notice with the refused ones before it.
    let second = loop {
        let next = node.next().await;
        if next.seq() == 3 {
            break next;
        }
    };
    assert_eq!(folded(&second), 3);
    assert_eq!(
        (data(&second, "oldStatus"), data(&second, "newStatus")),
        (&"Connecting".into(), &"Connected".into())
    );
    well.store(true, Ordering::SeqCst);
    // The next event is a drop with its reason; it begins where the first one began.
    assert!(scene.disk.try_unmount() || scene.disk.try_unmount());
    assert_eq!(scene.agent.reconnect(&scene.uuid).await.status, 503);
    let mut stands_for = 0;
    let last = loop {
        let received = next(&mut delivered).await;
        if stands_for == 0 {
            assert_eq!(data(&received, "oldStatus"), "Connecting");
        }
        stands_for += folded(&received);
        if received.seq() == 5 {
            break received;
        }
    };
    assert_eq!(stands_for, 5, "each transition is accounted for once");
    assert_eq!(data(&last, "newStatus"), "Disconnected");
    assert_eq!(data(&last, "reason")["cause"]["opaque"]["reason"], "not_mounted");
}
