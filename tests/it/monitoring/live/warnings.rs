//! The alerts of stores that are Connected and still need an operator, and of a store that stays
//! Connecting.

use std::fs;

use imagestore_agent::catalog::{Runbook, condition_guidance};
use imagestore_agent::model::Condition;

use super::{SETTINGS, Scene, has_remedy};
use crate::monitoring::programs::needs_prometheus;
use crate::support::agent::Agent;
use crate::support::capacity_history::grow_history;
use crate::support::filesystems::MountedFs;
use crate::support::requirements::is_root;
use crate::support::sshd::{Builder, HostKeyFile, User};

/// An attempt waits two minutes for a frozen server.
const PATIENT: &str = "attempt_deadline = \"2m\"\n[ssh]\nhandshake_timeout = \"2m\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fills_up_lacks_a_proof_or_stays_connecting_is_an_alert() {
    needs_prometheus!();
    if !is_root(std::any::type_name_of_val(&here)) {
        return;
    }
    let user = User::create();
    let (sshd, key) = (Builder::new().start(), HostKeyFile::generate("ed25519"));
    let without_sftp = Builder::new().host_key(&key).line("Subsystem sftp /bin/false").start();
    let growing = MountedFs::tmpfs("size=16m");
    let many_files = MountedFs::tmpfs("size=16m,nr_inodes=200");
    let (unproven, waiting) = (MountedFs::tmpfs("size=4m"), MountedFs::tmpfs("size=4m"));
    let roots = [&growing, &many_files, &unproven, &waiting].map(MountedFs::path);
    let agent = Agent::installed(&roots[0], &format!("{SETTINGS}{PATIENT}"));
    let one = format!("allowed_roots = [{:?}]", roots[0]);
    agent.configure(&agent.settings().replace(&one, &format!("allowed_roots = {roots:?}")));
    fs::write(roots[0].join("images"), vec![1; 11 << 20]).unwrap();
    let files: Vec<_> = (0..136).map(|number| roots[1].join(format!("image-{number}"))).collect();
    files.iter().for_each(|file| fs::write(file, "").unwrap());
    let mut scene = Scene::start(agent);
    scene.agent.start();
    let bytes = scene.add("bytes", &roots[0], &sshd, &user).await;
    let inodes = scene.add("inodes", &roots[1], &sshd, &user).await;
    let lacking = scene.add("lacking", &roots[2], &without_sftp, &user).await;
    let frozen = scene.add("frozen", &roots[3], &sshd, &user).await;

    // Both have grown by 5 % of their size a day, to 70 %.
    scene.agent.terminate();
    grow_history(&scene.agent, &[&bytes, &inodes], 5).await;
    scene.start_agent();
    for (alert, store, name) in
        [("ImageStoreFillingUp", &bytes, "bytes"), ("ImageStoreInodesFillingUp", &inodes, "inodes")]
    {
        let alert = scene.until_firing(alert, &[("store", store), ("name", name)]).await;
        has_remedy(&alert, condition_guidance(Condition::FillingUp).action);
        let description = alert["annotations"]["description"].as_str().unwrap();
        assert!(description.contains("d ") && description.contains("at the latest"), "{alert:#}");
    }
    let proof = Condition::ProofUnavailable;
    let labels = [("store", lacking.as_str()), ("condition", proof.as_str())];
    let unverified = scene.until_firing("ImageStoreUnverified", &labels).await;
    has_remedy(&unverified, condition_guidance(proof).action);
    assert_eq!(scene.find("ImageStoreFillingUp", &[("store", &inodes)]), None);
    assert_eq!(scene.find("ImageStoreInodesFillingUp", &[("store", &bytes)]), None);

    sshd.freeze();
    let (reconnected, ()) = tokio::join!(scene.agent.reconnect(&frozen), async {
        let stuck =
            scene.until_firing("ImageStoreStuckConnecting", &[("store", frozen.as_str())]).await;
        has_remedy(&stuck, Runbook::StuckConnecting.text().steps[0]);
        sshd.thaw();
    });
    assert_eq!(reconnected.status, 200, "{}", reconnected.body);

    // Each repair ends its alert.
    fs::remove_file(roots[0].join("images")).unwrap();
    files.iter().for_each(|file| fs::remove_file(file).unwrap());
    let port = without_sftp.address.port();
    drop(without_sftp);
    let _with_sftp = Builder::new().port(port).host_key(&key).start();
    scene.agent.until_connects(&lacking).await;
    scene.until_quiet(&[]).await;
}
