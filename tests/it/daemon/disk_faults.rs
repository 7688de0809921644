//! A state disk on which every n-th write or sync fails.

use crate::support::agent::{Agent, callback};
use crate::support::event_order::EventOrder;
use crate::support::filesystems::MountedFs;
use crate::support::ledger_snapshot::LedgerReader;
use crate::support::management_node::ManagementNode;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, User};
use crate::support::strace::{Tracer, failing};

/// Number of reconnects of each store for each fault.
const CALLS: u32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_now_and_then_costs_requests_and_no_transition() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut node = ManagementNode::answering([]).await;
    let settings = format!("[monitor]\ninterval = \"1h\"\n{}", callback(&node.url()));
    let mut agent = Agent::installed(&disk.path(), &settings);
    agent.start();
    let mut stores = Vec::new();
    for name in ["one", "two"] {
        std::fs::create_dir(disk.path().join(name)).unwrap();
        stores.push(agent.add(&disk.path().join(name), &sshd, &user).await);
    }
    let (ledger, mut events) = (LedgerReader::of(&agent), EventOrder::default());
    let (file, log) = (agent.path("state/ledger.sqlite"), agent.path("state/ledger.sqlite-wal"));
    for (calls, error, nth) in [
        ("pwrite64", "EIO", 29),
        ("pwrite64", "ENOSPC", 43),
        ("fsync,fdatasync", "EIO", 2),
        ("fsync,fdatasync", "EIO", 3),
        ("fsync,fdatasync", "ENOSPC", 5),
    ] {
        let tracer = Tracer::of_ledger(agent.pid(), &failing(calls, error, nth, &[&file, &log]));
        let (mut made, mut refused) = (0, 0);
        for _ in 0..CALLS {
            for store in &stores {
                let reply = agent.reconnect(store).await;
                match reply.status.as_u16() {
                    200 => made += 1,
                    _ => {
                        let reason = &reply.body["error"]["cause"]["opaque"]["reason"];
                        assert_eq!(reason, "state_disk_trouble", "{}", reply.body);
                        refused += 1;
                    }
                }
                // The status stays readable.
                assert!(agent.inventory(store).await["status"].is_string());
            }
        }
        println!("each {nth}th of {calls} is {error}: {made} made, {refused} refused");
        assert!(refused > 0, "no call failed");
        // After a kill on the failing disk the daemon finds everything that it had acknowledged.
        agent.kill();
        drop(tracer);
        agent.start();
        ledger.until_all_delivered(&stores).await;
        while let Some(received) = node.try_next() {
            events.record(&received);
        }
        ledger.assert_matches(&events, &stores);
    }
}
