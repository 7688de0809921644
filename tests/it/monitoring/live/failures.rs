//! Each kind of failure is seen with its reason and its remedy, and is resolved after the repair.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use hyper::Method;
use imagestore_agent::catalog::{DoctorCheck, condition_guidance, reason_guidance};
use imagestore_agent::model::{Condition, Reason};

use super::{NODE, SETTINGS, Scene, has_remedy};
use crate::monitoring::programs::needs_prometheus;
use crate::support::agent::{Agent, callback};
use crate::support::filesystems::MountedFs;
use crate::support::fuse::{Behaviour, Fuse, Op};
use crate::support::management_node::{Answer, ManagementNode};
use crate::support::requirements::is_root;
use crate::support::sshd::{Builder, HostKeyFile, Sshd, User};
use crate::support::test_ca::TestCa;

/// An alert that lasts until the certificate is renewed.
const ENDS: &str = "ImageStoreCertificateEnds";
/// An alert that lasts for an hour.
const RESTARTS: &str = "ImageStoreAgentRestarts";

/// Returns a name of 255 characters that a careless exposition, template or query would cut.
fn hostile_name() -> String {
    let start = "镜像 \"a\\\" {b=\"c\"} {{ .Labels }} $labels \\n 'd' <e>&";
    let fill = 255 - start.chars().count();
    format!("{start}{}", "长".repeat(fill))
}

/// Writes a file until no byte is left.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for piece in [4096, 1] {
        while file.write_all(&vec![0; piece]).is_ok() {}
    }
}

/// Restarts the same server with another host key.
fn restarted(sshd: Sshd, key: &HostKeyFile) -> Sshd {
    let port = sshd.address.port();
    drop(sshd);
    Builder::new().port(port).host_key(key).start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failure_is_an_alert_with_its_remedy_until_it_is_repaired() {
    needs_prometheus!();
    if !is_root(std::any::type_name_of_val(&here)) {
        return;
    }
    let ca = TestCa::new();
    let node = ManagementNode::over_tls(ca.server(None)).await;
    let (certificate, private_key) = ca.issue_for_days("agent.test", 10);
    let (user, other_user) = (User::create(), User::create());
    let sshd = Builder::new().start();
    let (old, new) = (HostKeyFile::generate("ed25519"), HostKeyFile::generate("ed25519"));
    let keyed = Builder::new().host_key(&old).start();
    let small: Vec<MountedFs> = (0..5).map(|_| MountedFs::tmpfs("size=4m")).collect();
    let few_inodes = MountedFs::tmpfs("size=4m,nr_inodes=40");
    let (hanging, slow) = (Fuse::mounted(), Fuse::mounted());
    let paths = small.iter().map(MountedFs::path);
    let paths = paths.chain([few_inodes.path(), hanging.path(), slow.path()]);
    let roots: Vec<_> = paths.collect();
    let more = format!(
        "{SETTINGS}{}ca_file = {:?}\nclient_cert = {certificate:?}\nclient_key = {private_key:?}\n",
        callback(&node.url()),
        ca.certificate()
    );
    let agent = Agent::installed(&roots[0], &more);
    let state = MountedFs::tmpfs("size=8m");
    let one = format!("allowed_roots = [{:?}]", roots[0]);
    let settings = agent.settings().replace(&one, &format!("allowed_roots = {roots:?}"));
    let settings = settings
        .replace(&format!("dir = {:?}", agent.path("state")), &format!("dir = {:?}", state.path()));
    agent.configure(&settings);

    let mut scene = Scene::start(agent);
    scene.start_agent();
    let name = hostile_name();
    let marker = scene.add(&name, &roots[0], &sshd, &user).await;
    let password = scene.add("password", &roots[1], &sshd, &other_user).await;
    let key = scene.add("key", &roots[2], &keyed, &user).await;
    let full = scene.add("full", &roots[3], &sshd, &user).await;
    let near = scene.add("near", &roots[4], &sshd, &user).await;
    let inodes = scene.add("inodes", &roots[5], &sshd, &user).await;
    let hung = scene.add("hung", &roots[6], &sshd, &user).await;
    let slowed = scene.add("slow", &roots[7], &sshd, &user).await;
    scene.prometheus.until_found("count(imagestore_store_status{status=\"connected\"} == 1) == 8");

    // The name is the same in Prometheus, whatever it contains.
    let found = scene.prometheus.query(&format!("imagestore_store_info{{store=\"{marker}\"}}"));
    let found = found.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["metric"]["name"], name.as_str());
    let ends = scene.until_firing(ENDS, &[("which", "client"), ("severity", "warning")]).await;
    has_remedy(&ends, DoctorCheck::CertificateClient.guidance().action);
    scene.until_quiet(&[ENDS]).await;

    // Every store fails in its way, and the management node rejects what it hears of it.
    node.set_script(|_| Answer::Status(400));
    let (inside, moved) = (roots[0].join(".imagestore-agent"), roots[0].join("moved"));
    fs::rename(&inside, &moved).unwrap();
    other_user.set_password("another");
    let keyed = restarted(keyed, &new);
    fs::write(roots[3].join("images"), vec![0; 3 << 20]).unwrap();
    let _ = fs::write(roots[3].join("more"), vec![0; 2 << 20]);
    fs::write(roots[4].join("images"), vec![0; 3500 << 10]).unwrap();
    let mut files = Vec::new();
    loop {
        let file = roots[5].join(format!("file-{}", files.len()));
        match fs::write(&file, "") {
            Ok(()) => files.push(file),
            Err(_) => break,
        }
    }
    hanging.set(Op::Statfs, Behaviour::Hang);
    slow.set(Op::Statfs, Behaviour::Slow(Duration::from_millis(1500)));
    for uuid in [&marker, &password, &key] {
        assert_eq!(scene.agent.reconnect(uuid).await.status, 503);
    }

    scene.until_disconnected(&marker, &name, Reason::MarkerMissing).await;
    scene.until_disconnected(&password, "password", Reason::CredentialsRefused).await;
    let changed = scene.until_firing("ImageStoreHostKeyChanged", &[("store", &key)]).await;
    has_remedy(&changed, reason_guidance(Reason::HostKeyChanged).action);
    let held_back = scene.until_disconnected(&key, "key", Reason::HostKeyChanged).await;
    assert_eq!(held_back["status"]["state"], "suppressed", "{held_back:#}");
    scene.until_condition("ImageStoreFull", &full, Condition::Full).await;
    scene.until_condition("ImageStoreNearFull", &near, Condition::NearFull).await;
    scene.until_condition("ImageStoreInodesFull", &inodes, Condition::InodesFull).await;
    scene.until_condition("ImageStoreSlow", &slowed, Condition::SlowProbe).await;
    scene.until_disconnected(&hung, "hung", Reason::ProbeStuck).await;
    let stuck = scene.until_firing("ImageStoreProbeStuck", &[("instance", NODE)]).await;
    has_remedy(&stuck, reason_guidance(Reason::ProbeStuck).action);
    let refused = scene.until_firing("ImageStoreNoticesRefused", &[("instance", NODE)]).await;
    has_remedy(&refused, condition_guidance(Condition::DeliveryRefused).action);
    let waiting = scene.until_firing("ImageStoreNoticesWaiting", &[("instance", NODE)]).await;
    has_remedy(&waiting, condition_guidance(Condition::DeliveryBehind).action);

    // Each repair ends its alert.
    node.set_script(|_| Answer::Status(200));
    fs::rename(&moved, &inside).unwrap();
    other_user.set_password(&other_user.password);
    let _keyed = restarted(keyed, &old);
    for file in [roots[3].join("images"), roots[3].join("more"), roots[4].join("images")] {
        fs::remove_file(file).unwrap();
    }
    files.iter().for_each(|file| fs::remove_file(file).unwrap());
    hanging.release();
    slow.release();
    for uuid in [&marker, &password, &key, &hung] {
        scene.agent.until_connects(uuid).await;
    }
    scene.until_quiet(&[ENDS]).await;

    // The daemon itself fails: its ledger, then as a whole.
    let ballast = state.path().join("ballast");
    fill(&ballast);
    assert_eq!(scene.agent.reconnect(&full).await.status, 503);
    let trouble = scene.until_firing("ImageStoreLedgerTrouble", &[("instance", NODE)]).await;
    has_remedy(&trouble, condition_guidance(Condition::StateDiskTrouble).action);
    fs::remove_file(ballast).unwrap();
    scene.agent.until_connects(&full).await;
    scene.until_quiet(&[ENDS]).await;

    // The certificate is renewed while the daemon is down.
    scene.agent.terminate();
    scene.until_firing("ImageStoreAgentDown", &[("instance", NODE)]).await;
    let (renewed, renewed_key) = ca.issue("agent.test");
    fs::rename(renewed, &certificate).unwrap();
    fs::rename(renewed_key, &private_key).unwrap();
    scene.start_agent();
    scene.until_quiet(&[]).await;

    // A store that comes and goes, and a daemon that starts again and again.
    for _ in 0..3 {
        fs::rename(&inside, &moved).unwrap();
        assert_eq!(scene.agent.reconnect(&marker).await.status, 503);
        scene.until_seen(&marker, "disconnected").await;
        fs::rename(&moved, &inside).unwrap();
        scene.agent.until_connects(&marker).await;
        scene.until_seen(&marker, "connected").await;
    }
    scene.until_firing("ImageStoreFlapping", &[("store", &marker)]).await;
    for starts in 2..=4 {
        // A start time is in whole seconds.
        scene.prometheus.until_found("time() - process_start_time_seconds > 2");
        scene.agent.terminate();
        scene.start_agent();
        let changes = "changes(process_start_time_seconds[1h])";
        scene.prometheus.until_found(&format!("{changes} == {starts}"));
    }
    scene.until_firing(RESTARTS, &[("instance", NODE)]).await;

    // A removed store ends its alerts.
    fs::rename(&inside, &moved).unwrap();
    assert_eq!(scene.agent.reconnect(&marker).await.status, 503);
    scene.until_disconnected(&marker, &name, Reason::MarkerMissing).await;
    let removed = scene.agent.ask(Method::DELETE, &format!("/{marker}"), None).await;
    assert_eq!(removed.status, 200, "{}", removed.body);
    scene.until_quiet(&[RESTARTS]).await;
}
