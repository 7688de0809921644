//! Claims of a directory: the marker on real filesystems, and the cleanup after a failed add.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use imagestore_agent::common::Timestamp;
use imagestore_agent::model::{NodeId, Reason, StoreUuid};
use imagestore_agent::probe::{
    AddLeftovers, KnownStores, MarkerClaim, ProbeExpectation, ProbeOptions, Prober, WorkerSlot,
};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::probe::{
    AGENT, MARKER, STORE, add, claim, claimed, image_dir, names, options, prober, soon, text_fact,
    with_worker,
};
use crate::support::filesystems::{BindMount, MountedFs};
use crate::support::requirements::needs_root;

/// Two daemons that see one directory.
const NODES: [NodeId; 2] = [NodeId::from_u128(1), NodeId::from_u128(2)];

fn of_node(root: &Path, node_id: NodeId) -> Prober {
    with_worker(ProbeOptions { node_id, ..options(root) })
}

fn anywhere(root: &Path) -> Prober {
    with_worker(ProbeOptions { allow_root_disk: true, ..options(root) })
}

fn marker_text(dir: &Path) -> String {
    fs::read_to_string(dir.join(".imagestore-agent/identity.json")).unwrap()
}

#[tokio::test]
async fn of_two_that_add_a_directory_at_once_one_gets_it() {
    needs_root!();
    let layers = MountedFs::tmpfs("size=4m");
    let overlay = BindMount::overlay(&layers.path());
    let disks = [MountedFs::of("ext4"), MountedFs::of("xfs"), MountedFs::of("btrfs")];
    let tmpfs = MountedFs::tmpfs("size=4m");
    let paths = disks.iter().map(MountedFs::path).chain([tmpfs.path(), overlay.path()]);
    for path in paths {
        let provers = NODES.map(|node| of_node(&path, node));
        let dir = image_dir(&path);
        for round in 0..5 {
            let mut claims = Vec::new();
            for prober in &provers {
                let examined = prober.examine(&mut WorkerSlot::new(), &dir, &add(), soon()).await;
                claims.push(claim(&examined.into_inspection().unwrap()));
            }
            let (mut slots, purpose) = ([WorkerSlot::new(), WorkerSlot::new()], add());
            let [one, other] = &mut slots;
            let second = claims.pop().unwrap();
            let first = claims.pop().unwrap();
            let claimed = tokio::join!(
                provers[0].write_marker(one, &dir, &purpose, &first, soon()),
                provers[1].write_marker(other, &dir, &purpose, &second, soon()),
            );
            let (winner, fault) = match claimed {
                (Ok(()), Err(fault)) => (NODES[0], fault),
                (Err(fault), Ok(())) => (NODES[1], fault),
                both => panic!("{path:?}, round {round}: {both:?}"),
            };
            assert_eq!(fault.reason(), Reason::TakenOver, "{fault}");
            assert_eq!(text_fact(&fault, "nodeId"), winner.to_string());
            assert!(marker_text(&path).contains(&winner.to_string()));
            let folder = path.join(".imagestore-agent");
            assert_eq!(names(&folder), ["identity.json"]);
            fs::remove_dir_all(folder).unwrap();
        }
    }
}

#[tokio::test]
async fn of_two_stores_of_one_daemon_one_adopts_a_marker() {
    let folder = tempfile::tempdir().unwrap();
    let prober = anywhere(folder.path());
    let (slot, dir) = (&mut WorkerSlot::new(), image_dir(folder.path()));
    prober.init_directory(slot, &dir, MARKER, Timestamp(0), None, soon()).await.unwrap();
    let examined = prober.examine(slot, &dir, &add(), soon()).await.into_inspection().unwrap();
    let second = MarkerClaim { store: StoreUuid::from_u128(77), ..claim(&examined) };
    prober.write_marker(slot, &dir, &add(), &claim(&examined), soon()).await.unwrap();
    let whole = marker_text(folder.path());
    let fault = prober.write_marker(slot, &dir, &add(), &second, soon()).await.unwrap_err();
    assert_eq!(fault.reason(), Reason::WrongStore, "{fault}");
    assert_eq!(marker_text(folder.path()), whole);
}

/// The other daemon writes its marker between the worker's two orders, where only the worker looks
/// again.
#[tokio::test]
async fn a_worker_overwrites_no_marker_but_the_expected_one() {
    needs_root!();
    let disk = MountedFs::tmpfs("size=4m");
    claimed(&prober(&disk.path()), &disk.path()).await;
    let whole = marker_text(&disk.path());
    let root = disk.path().display().to_string();
    for (over, covered) in [
        (None, false),
        (Some("another"), false),
        (Some(whole.as_str()), true),
        (Some("ours"), true),
    ] {
        let mut worker = tokio::process::Command::new(AGENT)
            .arg("probe-worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let orders = [
            serde_json::json!({"Open": {"dir": root, "roots": [root]}}),
            serde_json::json!({"Mark": {"probe": "probe.1", "text": "ours", "over": over}}),
        ];
        let mut stdin = worker.stdin.take().unwrap();
        for order in orders {
            stdin.write_all(format!("{order}\n").as_bytes()).await.unwrap();
        }
        let mut reports = BufReader::new(worker.stdout.take().unwrap()).lines();
        let answer = loop {
            let line = reports.next_line().await.unwrap().unwrap();
            if !line.starts_with("{\"At\"") && !line.starts_with("{\"Observed\"") {
                break line;
            }
        };
        assert_eq!(answer.starts_with("{\"Changed\""), !covered, "{over:?}: {answer}");
        assert_eq!(answer == "\"Done\"", covered, "{over:?}: {answer}");
        assert_eq!(marker_text(&disk.path()), if covered { "ours" } else { whole.as_str() });
        assert_eq!(names(&disk.path().join(".imagestore-agent")), ["identity.json"]);
    }
}

/// Returns what an add that failed after its claim leaves for the release.
fn left(claim: &MarkerClaim, folder: bool) -> AddLeftovers {
    AddLeftovers { folder, claim: Some(claim.clone()) }
}

#[tokio::test]
async fn a_claim_that_is_taken_back_leaves_the_directory_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (own_prober, other_prober) = (
        anywhere(folder.path()),
        with_worker(ProbeOptions {
            allow_root_disk: true,
            node_id: NODES[1],
            ..options(folder.path())
        }),
    );
    let (slot, dir) = (&mut WorkerSlot::new(), image_dir(folder.path()));
    // A directory that was empty is empty again.
    let examined = own_prober.examine(slot, &dir, &add(), soon()).await.into_inspection().unwrap();
    assert!(examined.created_folder);
    let first = claim(&examined);
    own_prober.write_marker(slot, &dir, &add(), &first, soon()).await.unwrap();
    own_prober.clean_up(slot, &dir, &left(&first, true), soon()).await.unwrap();
    assert_eq!(names(folder.path()), Vec::<String>::new());
    own_prober
        .clean_up(slot, &dir, &left(&first, true), soon())
        .await
        .expect("there is nothing to remove");

    // The other node's marker is restored byte for byte, also if the claim was never written.
    claimed(&other_prober, folder.path()).await;
    let before = marker_text(folder.path());
    let over =
        ProbeExpectation::Add { store: STORE, known: KnownStores::new(|_| false), take_over: true };
    let examined = own_prober.examine(slot, &dir, &over, soon()).await.into_inspection().unwrap();
    assert!(!examined.created_folder);
    let claimed_marker = claim(&examined);
    own_prober.clean_up(slot, &dir, &left(&claimed_marker, false), soon()).await.unwrap();
    assert_eq!(marker_text(folder.path()), before);
    own_prober.write_marker(slot, &dir, &over, &claimed_marker, soon()).await.unwrap();
    assert_ne!(marker_text(folder.path()), before);
    own_prober.clean_up(slot, &dir, &left(&claimed_marker, false), soon()).await.unwrap();
    assert_eq!(marker_text(folder.path()), before);
    assert_eq!(names(&folder.path().join(".imagestore-agent")), ["identity.json"]);

    // A file that another program has written since stays, and so does its folder.
    own_prober.write_marker(slot, &dir, &over, &claimed_marker, soon()).await.unwrap();
    let marker = folder.path().join(".imagestore-agent/identity.json");
    fs::write(&marker, "another's").unwrap();
    own_prober.clean_up(slot, &dir, &left(&claimed_marker, true), soon()).await.unwrap();
    assert_eq!(marker_text(folder.path()), "another's");
}
