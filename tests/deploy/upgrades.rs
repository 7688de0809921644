//! `upgrade.yml` of `deploy/ansible`, which Ansible runs on booted machines.

use std::path::Path;

use serde_json::json;

use crate::fleet::{
    AGENT, Fleet, SITE, UPGRADE, files_of, furnish, package_in, password, settings, store, stores,
};
use crate::machine::Machine;
use crate::support::requirements::run;

#[test]
fn an_upgrade_keeps_the_stores_and_ends_at_the_first_failure() {
    let mut fleet = Fleet::boot("2.19", &["node-1", "node-2"], json!({}));
    let old = package_in("0.0.1", &fleet.path("."));
    let new = package_in("0.0.2", &fleet.path("."));
    fleet.seal(
        &json!({"vault_password": password(), "vault_secret": format!("whsec_{}", "a".repeat(40))}),
    );
    fleet.set("imagestore_agent_package_file", old.clone().into());
    fleet.set("imagestore_agent_settings", settings(json!({})));
    fleet.set("imagestore_agent_stores", json!([store("/var/lib/imagestore")]));
    fleet.machines().for_each(|machine| furnish(machine, "/var/lib/imagestore", &password()));
    let none = json!({});
    fleet.play(SITE, &none, &[]).succeeds();
    let version =
        |machine: &Machine| machine.sh(&format!("dpkg-query -W -f '${{Version}}' {AGENT}"));
    let versions = |fleet: &Fleet| fleet.machines().map(version).collect::<Vec<_>>();
    let listed: Vec<_> = fleet.machines().map(stores).collect();
    let before: Vec<_> = fleet.machines().map(files_of).collect();
    let steady = |line: &&String| !line.starts_with("/var/lib/imagestore");
    let same = |fleet: &Fleet| {
        fleet.machines().zip(&before).for_each(|(machine, before)| {
            let now = files_of(machine);
            let changed: Vec<_> =
                now.iter().filter(steady).filter(|line| !before.contains(line)).collect();
            assert!(changed.is_empty(), "{changed:?}");
        });
    };
    fleet.set("imagestore_agent_package_file", new.into());

    // Settings that the new program does not accept, and a dry run.
    let pids: Vec<_> = fleet.machines().map(|machine| machine.shows("MainPID")).collect();
    let bad =
        json!({"imagestore_agent_settings": {"storage": {"reserved": "0B", "unheard_of": 1}}});
    let refused =
        fleet.play(UPGRADE, &none, &["-e", &bad.to_string()]).fails_with("storage.unheard_of");
    assert_eq!((refused.changes("node-1"), refused.changes("node-2")), (Some(0), None));
    let dry = fleet.play(UPGRADE, &none, &["--check"]).succeeds();
    assert!(dry.output.contains("would upgrade 0.0.1 to 0.0.2"), "{}", dry.output);
    same(&fleet);

    // An installation that fails leaves the old program running, and the next node alone.
    let stuck = "/etc/apt/apt.conf.d/99-fails";
    fleet.machine("node-1").write(stuck, "DPkg::Pre-Invoke { \"false\"; };");
    let failed = fleet.play(UPGRADE, &none, &[]).fails_with("version 0.0.1 is installed and runs");
    assert_eq!(failed.changes("node-2"), None);
    assert_eq!(versions(&fleet), ["0.0.1", "0.0.1"]);
    assert_eq!(fleet.machine("node-1").shows("ActiveState"), "active");
    assert_eq!(fleet.machine("node-2").shows("MainPID"), pids[1]);
    fleet.machine("node-1").sh(&format!("rm {stuck}"));

    // The upgrade, which brings a new setting too. A second one has nothing to do.
    fleet.set("imagestore_agent_settings", settings(json!({"monitor": {"interval": "11s"}})));
    let upgraded = fleet.play(UPGRADE, &none, &[]).succeeds();
    assert!(upgraded.changes("node-2") > Some(0));
    assert_eq!(versions(&fleet), ["0.0.2", "0.0.2"]);
    assert_eq!(fleet.machines().map(stores).collect::<Vec<_>>(), listed);
    for machine in fleet.machines() {
        let kept = machine.sh("ls -d /var/backups/imagestore-agent/*-0.0.1 | tail -n 1");
        machine.sh(&format!("test -s {kept}/ledger.sqlite && test -s {kept}/master-key"));
        machine.sh(&format!("! grep -q interval {kept}/agent.toml"));
        assert_eq!(machine.sh("stat -c '%U %a' /var/backups/imagestore-agent"), "root 700");
        machine.sh("grep -q '^interval = \"11s\"' /etc/imagestore-agent/agent.toml");
    }
    let again = fleet.play(UPGRADE, &none, &[]).succeeds();
    assert_eq!((again.changes("node-1"), again.changes("node-2")), (Some(0), Some(0)));

    // An earlier version is refused. The other play installs, and never changes the version.
    fleet.set("imagestore_agent_package_file", old.into());
    assert_eq!(fleet.play(SITE, &none, &[]).succeeds().changes("node-2"), Some(0));
    fleet.play(UPGRADE, &none, &[]).fails_with("0.0.1 is earlier");
    assert_eq!(versions(&fleet), ["0.0.2", "0.0.2"]);
}

/// A package does not configure itself while this file is there.
const HINDRANCE: &str = "/root/hindrance";

/// Makes the package one that heeds [`HINDRANCE`], and returns its path.
fn stubborn(package: &str, unpacked: &Path) -> String {
    run(
        "sh",
        &[
            "-c",
            &format!(
                "dpkg-deb -R {package} {0} && \
                 sed -i '2i test ! -e {HINDRANCE} || exit 1' {0}/DEBIAN/postinst && \
                 dpkg-deb -Zgzip -z1 --root-owner-group -b {0} {package}",
                unpacked.display()
            ),
        ],
    );
    package.to_owned()
}

#[test]
fn an_upgrade_that_failed_is_explained_in_the_next_run_too() {
    let mut fleet = Fleet::boot("2.19", &["node-1"], json!({}));
    let old = package_in("0.0.1", &fleet.path("."));
    let new = stubborn(&package_in("0.0.2", &fleet.path(".")), &fleet.path("unpacked"));
    fleet.seal(&json!({"vault_password": password()}));
    fleet.set("imagestore_agent_package_file", old.into());
    fleet.set("imagestore_agent_settings", settings(json!({})));
    fleet.set("imagestore_agent_stores", json!([store("/var/lib/imagestore")]));
    fleet.machines().for_each(|machine| furnish(machine, "/var/lib/imagestore", &password()));
    let none = json!({});
    fleet.play(SITE, &none, &[]).succeeds();
    fleet.set("imagestore_agent_package_file", new.into());
    let node = || fleet.machine("node-1");
    let stuck = "/etc/apt/apt.conf.d/99-fails";
    node().write(stuck, "DPkg::Pre-Invoke { \"false\"; };");
    fleet.play(UPGRADE, &none, &[]).fails_with("version 0.0.1 is installed and runs");
    let left = node().sh("ls /var/backups/imagestore-agent/");
    assert_eq!(left, "");
    node().sh(&format!("rm {stuck} && touch {HINDRANCE}"));
    fleet.play(UPGRADE, &none, &[]).fails_with("half-configured 0.0.2");
    assert_eq!(node().shows("ActiveState"), "active");
    // The other play completes it.
    node().sh(&format!("rm {HINDRANCE}"));
    fleet.play(SITE, &none, &[]).succeeds();
    assert_eq!(fleet.play(UPGRADE, &none, &[]).succeeds().changes("node-1"), Some(0));
    node().sh(&format!("systemctl stop {AGENT}"));
    fleet.play(UPGRADE, &none, &[]).fails_with("its daemon is not ready");
}
