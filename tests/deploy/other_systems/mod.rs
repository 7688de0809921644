//! The role and the packages on relatives of the systems of ZStack's hosts: yum, rpm and Python 2.7
//! of CentOS 7, dnf of RHEL 9, Python 3.6 of RHEL 8. No mirror of theirs is reachable.

mod system;

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::fleet::{CANARY, Fleet, files_of, keeps_its_secrets};
use crate::machine::Machine;
use crate::systemd;
use system::{AGENT, BIONIC, DNF, Manager, System, YUM};

const SITE: &str = "site.yml";
const UPGRADE: &str = "upgrade.yml";
const NODE: &str = "node-1";
const DROP_IN: &str = "/usr/lib/systemd/system/imagestore-agent.service.d/old-systemd.conf";

/// A machine, its packages, and Ansible.
struct Site {
    system: System,
    fleet: Fleet,
    packages: Vec<PathBuf>,
}

impl Site {
    /// Boots a machine with a store's disk and an empty repository.
    fn boot(system: System) -> Self {
        let mut fleet = Fleet::boot_from(system.base, system.ansible, &[NODE], json!({}), |root| {
            system.prepare(root)
        });
        let packages = ["0.0.1", "0.0.2", "0.0.3"]
            .map(|version| system.package(version, &fleet.path("packages")));
        let machine = fleet.machine(NODE);
        system.furnish(machine);
        systemd::furnish(machine, "/srv/far images");
        machine.sh(&format!("echo 'storage:{CANARY}' | chpasswd"));
        fleet.seal(&json!({"vault_password": CANARY}));
        // Not the default folder, so that the drop-in of the role is used.
        let store = json!({"name": "images", "path": "/srv/far images", "hostname": "127.0.0.1",
            "username": "storage", "password": "{{ vault_password }}"});
        fleet.set("imagestore_agent_stores", json!([store]));
        fleet.set("imagestore_agent_settings", json!({"storage": {"reserved": "0B"}}));
        let key = json!({"name": "terraform", "id": "abc", "secret": "{{ vault_password }}"});
        fleet.set("imagestore_agent_access_keys", json!([key]));
        Self { system, fleet, packages: packages.to_vec() }
    }

    fn machine(&self) -> &Machine {
        self.fleet.machine(NODE)
    }

    /// Runs a play that must succeed, and returns the number of its changes.
    fn play(&self, playbook: &str) -> u32 {
        self.fleet.play(playbook, &json!({}), &[]).succeeds().changes(NODE).unwrap()
    }

    /// Runs a play that must fail with these words and change nothing.
    fn refuses(&self, playbook: &str, words: &str) {
        let play = self.fleet.play(playbook, &json!({}), &[]).fails_with(words);
        assert_eq!(play.changes(NODE), Some(0), "{}", play.output);
    }

    /// Runs a play in check mode, which changes nothing.
    fn dry(&self, playbook: &str, words: &str) {
        let before = self.files();
        let play = self.fleet.play(playbook, &json!({}), &["--check"]).succeeds();
        assert!(play.output.contains(words), "{words}: {}", play.output);
        let now = self.files();
        let changed: Vec<_> = now.iter().filter(|line| !before.contains(line)).collect();
        assert!(changed.is_empty() && now.len() == before.len(), "changed: {changed:?}");
    }

    /// Returns the files without those of the daemon and of the package manager, which keep the
    /// time of what they have read.
    fn files(&self) -> Vec<String> {
        let own = [
            "/var/lib/imagestore-agent/",
            "/var/lib/dnf",
            "/var/lib/yum",
            "/var/lib/apt/",
            "/root/.cache",
            "/root/.rpmdb",
            "/srv/repository/",
        ];
        let is_own = |line: &String| own.iter().any(|folder| line.starts_with(folder));
        files_of(self.machine()).into_iter().filter(|line| !is_own(line)).collect()
    }

    fn publish(&self, package: usize) {
        self.system.publish(self.machine(), &self.packages[package]);
    }

    /// Takes the packages from the repository, or this one from a file.
    fn take(&mut self, version: &str, file: Option<usize>) {
        self.fleet.set("imagestore_agent_version", version.into());
        let file = file.map_or(Path::new(""), |index| self.packages[index].as_path());
        self.fleet.set("imagestore_agent_package_file", file.to_str().unwrap().into());
    }

    /// Returns the uuids, names and statuses that the daemon lists.
    fn stores(&self) -> String {
        self.machine().sh(&format!("{AGENT} list -H --columns uuid,name,path,status"))
    }

    /// Panics unless this version is installed and its daemon has the connected store.
    fn has(&self, version: &str, stores: &str) {
        assert_eq!(self.system.installed(self.machine()).trim(), self.system.full(version));
        assert_eq!(self.machine().shows("ActiveState"), "active");
        let connected = format!("{AGENT} wait images --for connected --timeout 1m");
        self.machine().sh(&connected);
        assert_eq!(self.stores(), stores);
    }
}

/// The whole life of a node: installed, upgraded and removed with its package manager.
fn lives(system: System) {
    let mut site = Site::boot(system);
    site.publish(0);
    site.dry(SITE, &format!("would install {AGENT}"));
    assert!(site.play(SITE) > 0);
    let stores = site.stores();
    site.has("0.0.1", &stores);
    assert_eq!(site.play(SITE), 0);
    the_user_and_the_directories_are_there(&site);

    // From the repository, with lists that the node has read before: the newest, and one by name.
    site.publish(1);
    let (before, after) = (system.full("0.0.1"), system.full("0.0.2"));
    site.dry(UPGRADE, &format!("would upgrade {before} to {after}"));
    assert!(site.play(UPGRADE) > 0);
    site.has("0.0.2", &stores);
    assert_eq!(site.play(UPGRADE), 0);
    site.take("0.0.1", None);
    site.refuses(UPGRADE, "is earlier");
    site.take("0.0.9", None);
    site.refuses(UPGRADE, system.no_version());
    site.publish(2);
    site.take("0.0.3", None);
    assert!(site.play(UPGRADE) > 0);
    site.has("0.0.3", &stores);
    assert_eq!(site.play(UPGRADE), 0);
    // From a file.
    site.take("", Some(1));
    site.refuses(UPGRADE, "is earlier");

    a_removal_keeps_settings_and_state(&site);
    site.take("", Some(0));
    assert!(site.play(SITE) > 0);
    site.has("0.0.1", &stores);
    site.take("", Some(1));
    assert!(site.play(UPGRADE) > 0);
    site.has("0.0.2", &stores);

    a_daemon_restarts_at_a_change_if_it_runs(&site, &stores);
    if system.manager != Manager::Apt {
        // What an upgrade leaves that was killed between its two halves.
        site.machine().sh(&format!("rpm -i --force --nodeps /{}", published(&site, 2)));
        assert_eq!(system.installed(site.machine()), "0.0.2-1 0.0.3-1");
        site.refuses(UPGRADE, "is not installed");
        assert!(site.play(SITE) > 0);
        site.has("0.0.3", &stores);
    }
    assert_eq!(site.machine().sh("ls -A /tmp | grep ^imagestore-agent || true"), "");
    keeps_its_secrets(site.machine());
}

fn published(site: &Site, package: usize) -> String {
    let name = site.packages[package].file_name().unwrap().to_str().unwrap();
    format!("srv/repository/{name}")
}

/// The scripts of the package have run.
fn the_user_and_the_directories_are_there(site: &Site) {
    let machine = site.machine();
    let user = machine.sh(&format!("getent passwd {AGENT}"));
    assert!(user.ends_with(":/var/lib/imagestore-agent:/usr/sbin/nologin"), "{user}");
    let modes = machine.sh(&format!("stat -c '%a %U %G' /etc/{AGENT} /var/lib/{AGENT}"));
    assert_eq!(modes, format!("750 root {AGENT}\n750 {AGENT} {AGENT}"));
    let process = machine.shows("MainPID");
    assert_eq!(machine.sh(&format!("ps -o user:20= -p {process}")), AGENT);
    let drop_in = machine.sh(&format!("grep -v '^#' {DROP_IN} 2>/dev/null || true"));
    let expected = match site.system.manager {
        Manager::Yum => "[Service]\nSystemCallFilter=\nProtectSystem=full",
        Manager::Apt => "[Service]\nSystemCallFilter=",
        Manager::Dnf => "",
    };
    assert_eq!(drop_in, expected);
}

fn a_removal_keeps_settings_and_state(site: &Site) {
    let machine = site.machine();
    let settings = machine.sh(&format!("cat /etc/{AGENT}/agent.toml"));
    let process = machine.shows("MainPID");
    machine.sh(&format!("{} -y remove {AGENT}", site.system.program()));
    machine.sh(&format!("! test -e /proc/{process} && ! test -e {DROP_IN}"));
    machine.sh(&format!("! test -e /usr/bin/{AGENT} && test -s /var/lib/{AGENT}/ledger.sqlite"));
    machine.sh(&format!("! test -e /etc/systemd/system/multi-user.target.wants/{AGENT}.service"));
    let kept = if site.system.manager == Manager::Apt { "" } else { ".rpmsave" };
    assert_eq!(machine.sh(&format!("cat /etc/{AGENT}/agent.toml{kept}")), settings);
    machine.sh(&format!("test -s /etc/{AGENT}/access-keys"));
}

fn a_daemon_restarts_at_a_change_if_it_runs(site: &Site, stores: &str) {
    let (machine, system) = (site.machine(), site.system);
    let process = machine.shows("MainPID");
    machine.sh(&system.change_to("0.0.3", true));
    site.has("0.0.3", stores);
    assert_ne!(machine.shows("MainPID"), process);
    machine.sh(&format!("systemctl stop {AGENT}"));
    machine.sh(&system.change_to("0.0.2", false));
    assert_eq!(machine.shows("ActiveState"), "inactive");
    machine.sh(&format!("systemctl start {AGENT}"));
    site.has("0.0.2", stores);
}

#[test]
fn a_node_with_yum_and_python_2_is_installed_upgraded_and_removed() {
    lives(YUM);
}

#[test]
fn a_node_with_dnf_is_installed_upgraded_and_removed() {
    lives(DNF);
}

#[test]
fn a_node_with_apt_and_python_3_6_is_installed_upgraded_and_removed() {
    lives(BIONIC);
}
