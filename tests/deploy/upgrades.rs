//! `upgrade.yml` of `deploy/ansible`, which Ansible runs on booted machines.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::fleet::{
    AGENT, Fleet, Play, SITE, UPGRADE, files_of, furnish, package_in, password, settings, store,
    stores,
};
use crate::machine::Machine;
use crate::support::requirements::run;
use crate::wait::{succeeds, until};

/// The record of an upgrade that is not confirmed.
const RECORD: &str = "/etc/imagestore-agent/.ansible/upgrade-due";

#[test]
fn an_upgrade_keeps_the_stores_and_ends_at_the_first_failure() {
    let mut fleet = Fleet::boot("2.19", &["node-1", "node-2"], json!({}));
    let old = package_in("0.0.1", &fleet.path("."));
    let new = repacked(&old, "0.0.2");
    fleet.seal(
        &json!({"vault_password": password(), "vault_secret": format!("whsec_{}", "a".repeat(40))}),
    );
    fleet.set("imagestore_agent_package_file", old.clone().into());
    fleet.set("imagestore_agent_settings", settings(json!({})));
    fleet.set("imagestore_agent_stores", json!([store("/var/lib/imagestore")]));
    fleet.machines().for_each(|machine| furnish(machine, "/var/lib/imagestore", &password()));
    let none = json!({});
    fleet.play(SITE, &none, &[]).succeeds();
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

/// The configuration of a package runs this script first, and fails if it fails.
const HINDRANCE: &str = "/root/hindrance";

/// Makes a package with this version from another one, in its directory, and returns its path. It
/// heeds [`HINDRANCE`].
fn repacked(package: &str, version: &str) -> String {
    let made = Path::new(package).with_file_name(format!("{version}.deb")).display().to_string();
    run(
        "sh",
        &[
            "-ec",
            &format!(
                "dpkg-deb -R {package} {made}.d
                 sed -i 's/^Version: .*/Version: {version}/' {made}.d/DEBIAN/control
                 sed -i '2i test ! -e {HINDRANCE} || sh {HINDRANCE} || exit 1' {made}.d/DEBIAN/postinst
                 dpkg-deb -Zgzip -z1 --root-owner-group -b {made}.d {made}
                 rm -r {made}.d"
            ),
        ],
    );
    made
}

/// Boots a node and installs version 0.0.1 there.
fn node_with_a_store(version: &'static str, vars: Value) -> Fleet {
    let mut fleet = Fleet::boot(version, &["node-1"], vars);
    let old = package_in("0.0.1", &fleet.path("."));
    fleet.seal(&json!({"vault_password": password()}));
    fleet.set("imagestore_agent_package_file", old.into());
    fleet.set("imagestore_agent_settings", settings(json!({})));
    fleet.set("imagestore_agent_stores", json!([store("/var/lib/imagestore")]));
    fleet.set("imagestore_agent_doctor_wait", "5s".into());
    furnish(node(&fleet), "/var/lib/imagestore", &password());
    fleet.play(SITE, &json!({}), &[]).succeeds();
    fleet
}

/// Makes a package of a later version than that of [`node_with_a_store`].
fn later(fleet: &Fleet, version: &str) -> Value {
    repacked(&fleet.path("0.0.1.deb").display().to_string(), version).into()
}

fn node(fleet: &Fleet) -> &Machine {
    fleet.machine("node-1")
}

fn upgrade(fleet: &Fleet) -> Play {
    fleet.play(UPGRADE, &json!({}), &[])
}

fn version(machine: &Machine) -> String {
    machine.sh(&format!("dpkg-query -W -f '${{Version}}' {AGENT}"))
}

fn backups(machine: &Machine) -> Vec<String> {
    machine.sh("ls /var/backups/imagestore-agent/").lines().map(str::to_owned).collect()
}

/// Panics if anything is left of an upgrade but backups.
fn is_done(machine: &Machine) {
    machine.sh(&format!("! test -e {RECORD} && ! ls -d /root/{AGENT}.*"));
}

/// Returns the files but those of the daemon that runs.
fn steady_files(machine: &Machine) -> Vec<String> {
    files_of(machine).into_iter().filter(|line| !line.starts_with("/var/lib/imagestore")).collect()
}

/// Panics if a dry run does not say this, or changes a file.
fn would(fleet: &Fleet, words: &str) {
    let before = steady_files(node(fleet));
    let dry = fleet.play(UPGRADE, &json!({}), &["--check"]).succeeds();
    assert!(dry.output.contains(words), "{words}: {}", dry.output);
    assert!(dry.changes("node-1") > Some(0), "{}", dry.output);
    assert_eq!(steady_files(node(fleet)), before);
}

/// Returns a script that does not end. It writes its process id to `/run/reached`.
fn endless(first: &str) -> String {
    format!(
        "{first}\necho $$ > /run/reached.new\nmv /run/reached.new /run/reached\nread -r _ < /run/gate\nexit 1\n"
    )
}

/// Makes the next call of a program on the machine run this script instead, if the condition holds.
fn replace_once(machine: &Machine, program: &str, condition: &str, script: &str) {
    let path = format!("/usr/local/bin/{program}");
    let text =
        format!("#!/bin/sh\n{condition} || exec /usr/bin/{program} \"$@\"\nrm {path}\n{script}");
    machine.write(&path, text);
    machine.sh(&format!("chmod 755 {path}"));
}

/// Upgrades until an [`endless`] script runs, and kills Ansible then.
fn interrupt(fleet: &Fleet) {
    let node = node(fleet);
    node.sh("rm -f /run/gate && mkfifo /run/gate");
    let mut play = fleet.start(UPGRADE);
    until("the script runs", || {
        let ended = play.ended();
        assert!(ended.is_none(), "{ended:?}");
        succeeds(node.try_sh("test -e /run/reached"))
    });
    play.kill();
}

/// Ends the script, and waits for the end of the command that has called it.
fn release(machine: &Machine) {
    machine.sh("kill $(cat /run/reached) && rm /run/reached");
    until("the command ends", || {
        succeeds(machine.try_sh("flock --nonblock /etc/imagestore-agent/.ansible true"))
    });
}

#[test]
fn an_upgrade_that_failed_is_explained_in_the_next_run_too() {
    let mut fleet = node_with_a_store("2.19", json!({}));
    fleet.set("imagestore_agent_package_file", later(&fleet, "0.0.2"));
    let stuck = "/etc/apt/apt.conf.d/99-fails";
    node(&fleet).write(stuck, "DPkg::Pre-Invoke { \"false\"; };");
    upgrade(&fleet).fails_with("version 0.0.1 is installed and runs");
    assert_eq!(backups(node(&fleet)), [""; 0]);
    is_done(node(&fleet));
    node(&fleet).sh(&format!("rm {stuck} && echo exit 1 > {HINDRANCE}"));
    upgrade(&fleet).fails_with("half-configured 0.0.2");
    assert_eq!(node(&fleet).shows("ActiveState"), "active");
    upgrade(&fleet).fails_with("half-configured 0.0.2");
    // The other play completes it, and the checks are still due.
    // A power cut leaves such a file, beside which apt installs nothing.
    node(&fleet).sh(&format!("rm {HINDRANCE} && touch /var/lib/dpkg/updates/0000"));
    fleet.play(SITE, &json!({}), &[]).succeeds();
    would(&fleet, "the checks that follow the installation of 0.0.2 are due");
    assert!(upgrade(&fleet).succeeds().changes("node-1") > Some(0));
    is_done(node(&fleet));
    assert_eq!(upgrade(&fleet).succeeds().changes("node-1"), Some(0));
    node(&fleet).sh(&format!("systemctl stop {AGENT}"));
    upgrade(&fleet).fails_with("its daemon is not ready");
}

#[test]
fn an_upgrade_that_ended_before_the_installation_begins_again() {
    let mut fleet = node_with_a_store("2.16", json!({"imagestore_agent_socket": true}));
    fleet.set("imagestore_agent_package_file", later(&fleet, "0.0.2"));
    fleet.set("imagestore_agent_settings", settings(json!({"monitor": {"interval": "11s"}})));
    let listed = stores(node(&fleet));
    let has_new_settings = "grep -q '^interval' /etc/imagestore-agent/agent.toml";
    let runs_as_before = || {
        is_done(node(&fleet));
        assert_eq!(stores(node(&fleet)), listed);
        node(&fleet).sh(&format!("systemctl is-active {AGENT}.socket {AGENT}.service"));
    };

    // In the installation, which goes on without Ansible.
    replace_once(node(&fleet), "apt-get", "true", &endless(""));
    interrupt(&fleet);
    upgrade(&fleet).fails_with("still goes on");
    release(node(&fleet));
    assert_eq!(
        (version(node(&fleet)), node(&fleet).shows("ActiveState")),
        ("0.0.1".into(), "inactive".into())
    );
    node(&fleet).sh(has_new_settings);
    // rpm replaces the files first.
    let program = format!("/usr/bin/{AGENT}");
    node(&fleet).sh(&format!("cp -p {program} /root/program && echo more >> {program}"));
    upgrade(&fleet).fails_with("/usr/bin/imagestore-agent is another program");
    assert_eq!(backups(node(&fleet)).len(), 1);
    node(&fleet).sh(&format!("mv /root/program {program} && test -e {RECORD}"));
    // A backup stays until the old program runs.
    let drop_in = format!("/run/systemd/system/{AGENT}.service.d");
    node(&fleet).sh(&format!(
        "mkdir {drop_in} && printf '[Service]\\nExecStartPre=/bin/false\\n' > {drop_in}/fails.conf"
    ));
    upgrade(&fleet).fails_with("0.0.1 is installed, and does not start");
    node(&fleet).sh(&format!("rm {drop_in}/fails.conf && test -e {RECORD}"));
    let kept = backups(node(&fleet));
    assert_eq!(kept.len(), 1);
    node(&fleet).sh(&format!("test -s /var/backups/imagestore-agent/{}/ledger.sqlite", kept[0]));
    node(&fleet).sh(&format!("! {has_new_settings}"));
    // The former settings return, also to a daemon that runs since a reboot.
    would(&fleet, "0.0.1 was not replaced, so that it returns to its settings and starts");
    replace_once(node(&fleet), "apt-get", "true", "exit 1");
    upgrade(&fleet).fails_with("version 0.0.1 is installed and runs");
    node(&fleet).sh(&format!("! {has_new_settings}"));
    assert_eq!(backups(node(&fleet)), [""; 0]);
    runs_as_before();
    replace_once(node(&fleet), "apt-get", "true", &endless(""));
    interrupt(&fleet);
    release(node(&fleet));
    node(&fleet)
        .sh(&format!("{has_new_settings} && systemctl start {AGENT}.socket {AGENT}.service"));
    replace_once(node(&fleet), "apt-get", "true", "exit 1");
    upgrade(&fleet).fails_with("version 0.0.1 is installed and runs");
    node(&fleet).sh(&format!("! {has_new_settings}"));
    runs_as_before();

    // In the backup.
    replace_once(
        node(&fleet),
        "cp",
        "true",
        &endless("mkdir \"$3\" && touch \"$3/ledger.sqlite\""),
    );
    interrupt(&fleet);
    release(node(&fleet));
    assert_eq!(node(&fleet).shows("ActiveState"), "inactive");
    would(&fleet, "would upgrade 0.0.1 to 0.0.2");
    assert!(upgrade(&fleet).succeeds().changes("node-1") > Some(0));
    assert_eq!(version(node(&fleet)), "0.0.2");
    runs_as_before();
    let kept = backups(node(&fleet));
    assert_eq!(kept.len(), 1);
    node(&fleet).sh(&format!(
        "cd /var/backups/imagestore-agent/{} && test -s ledger.sqlite && ! grep -q '^interval' agent.toml",
        kept[0]
    ));
    node(&fleet).sh(has_new_settings);
    assert_eq!(upgrade(&fleet).succeeds().changes("node-1"), Some(0));

    // In the record, which the daemon outlives.
    node(&fleet).write(RECORD, "{\"installed\": \"0.0");
    let pid = node(&fleet).shows("MainPID");
    would(&fleet, "it had not begun");
    assert_eq!(upgrade(&fleet).succeeds().changes("node-1"), Some(1));
    assert_eq!(node(&fleet).shows("MainPID"), pid);
    runs_as_before();
    assert_eq!(fleet.play(SITE, &json!({}), &[]).succeeds().changes("node-1"), Some(0));
}

#[test]
fn a_later_run_makes_the_checks_of_an_interrupted_upgrade_until_they_succeed() {
    let mut fleet = node_with_a_store("2.19", json!({"imagestore_agent_backups_keep": 1}));

    // In the configuration of the package, which site.yml completes.
    let filler = "/var/lib/imagestore/filler";
    fleet.set("imagestore_agent_settings", json!({"storage": {"reserved": "32MiB"}}));
    fleet.set("imagestore_agent_package_file", later(&fleet, "0.0.2"));
    node(&fleet).write(HINDRANCE, endless(""));
    interrupt(&fleet);
    upgrade(&fleet).fails_with("half-configured 0.0.2");
    release(node(&fleet));
    upgrade(&fleet).fails_with("half-configured 0.0.2");
    node(&fleet).sh(&format!("rm {HINDRANCE}"));
    let recorded = node(&fleet).sh(&format!("stat -c '%U %a %y' {RECORD} && cat {RECORD}"));
    assert!(recorded.starts_with("root 600 "), "{recorded}");
    fleet.play(SITE, &json!({}), &[]).succeeds();
    assert_eq!(fleet.play(SITE, &json!({}), &[]).succeeds().changes("node-1"), Some(0));
    let kept = node(&fleet).sh(&format!("stat -c '%U %a %y' {RECORD} && cat {RECORD}"));
    assert_eq!((kept, version(node(&fleet))), (recorded, "0.0.2".into()));
    would(&fleet, "the checks that follow the installation of 0.0.2 are due");
    // What doctor did not find before fails each run.
    node(&fleet).sh(&format!("fallocate -l 48m {filler} && {AGENT} reconnect images"));
    for _ in 0..2 {
        upgrade(&fleet).fails_with("space of images: ").fails_with("To go back: stop");
    }
    node(&fleet).sh(&format!("rm {filler} && {AGENT} reconnect images"));
    assert!(upgrade(&fleet).succeeds().changes("node-1") > Some(0));
    is_done(node(&fleet));
    let [first] = &backups(node(&fleet))[..] else { panic!() };
    assert_eq!(upgrade(&fleet).succeeds().changes("node-1"), Some(0));

    // Before the start of the new program. What doctor found before is no failure, and the name of
    // the store is no template.
    node(&fleet).sh(&format!("fallocate -l 48m {filler} && {AGENT} reconnect images"));
    node(&fleet).sh(&format!("{AGENT} update images --name 'images {{{{ 7 * 7 }}}}'"));
    fleet.set("imagestore_agent_package_file", later(&fleet, "0.0.3"));
    replace_once(node(&fleet), "systemctl", "test \"$1\" = start", &endless(""));
    interrupt(&fleet);
    release(node(&fleet));
    let state = (version(node(&fleet)), node(&fleet).shows("ActiveState"));
    assert_eq!(state, ("0.0.3".into(), "inactive".into()));
    // A store that was connected is not any more.
    node(&fleet).sh(&format!(
        "usermod --lock storage && systemctl start {AGENT} && ! {AGENT} reconnect --all"
    ));
    let refused = upgrade(&fleet).fails_with("credentials_refused").fails_with("To go back: stop");
    assert!(refused.output.contains("images {{ 7 * 7 }}"), "{}", refused.output);
    node(&fleet).sh(&format!("usermod --unlock storage && {AGENT} reconnect --all --force"));
    // Another version that was installed meanwhile is checked like the new one.
    fleet.set("imagestore_agent_package_file", later(&fleet, "0.0.4"));
    node(&fleet).write("/root/0.0.4.deb", fs::read(fleet.path("0.0.4.deb")).unwrap());
    node(&fleet).sh("dpkg -i /root/0.0.4.deb");
    would(&fleet, "also for 0.0.4, which was installed by other means");
    upgrade(&fleet).succeeds();
    is_done(node(&fleet));
    let [second] = &backups(node(&fleet))[..] else { panic!() };
    assert!(first.ends_with("-0.0.1") && second.ends_with("-0.0.2"), "{first} {second}");
    assert_eq!(upgrade(&fleet).succeeds().changes("node-1"), Some(0));
}
