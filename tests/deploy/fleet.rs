//! Booted machines that Ansible reaches over SSH.
//!
//! The machines have no network. The SSH client starts a server inside of a machine instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};

use crate::machine::{Machine, tree};
use crate::support::requirements::run;
use crate::wait::until;

pub(crate) const AGENT: &str = "imagestore-agent";
pub(crate) const SITE: &str = "site.yml";
pub(crate) const UPGRADE: &str = "upgrade.yml";

/// Every secret of these tests contains it, so that a search finds each of them.
pub(crate) const CANARY: &str = "canary-4711";

/// The result of a play.
pub(crate) struct Play {
    /// All output, with the greatest detail that is of use to an operator.
    pub(crate) output: String,
    is_success: bool,
}

impl Play {
    /// Panics if the play failed.
    pub(crate) fn succeeds(self) -> Self {
        assert!(self.is_success, "{}", self.output);
        self
    }

    /// Panics if the play succeeded, or its output does not contain these words.
    pub(crate) fn fails_with(self, words: &str) -> Self {
        assert!(!self.is_success, "{}", self.output);
        let output = self.output.replace("\\\"", "\"");
        assert!(output.contains(words), "{words}: {output}");
        self
    }

    /// Returns the number of changes on a machine, as the last lines have it. Returns `None` for a
    /// machine that the play did not reach.
    pub(crate) fn changes(&self, machine: &str) -> Option<u32> {
        let (_, recap) = self.output.rsplit_once("PLAY RECAP").unwrap();
        let line = recap.lines().find(|line| line.starts_with(machine))?;
        let (_, count) = line.split_once("changed=").unwrap();
        Some(count.split(' ').next().unwrap().parse().unwrap())
    }
}

/// A play that runs beside the test.
pub(crate) struct RunningPlay {
    ansible: Child,
    home: PathBuf,
}

impl RunningPlay {
    /// Returns the output so far if the play has ended.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.ansible.try_wait().unwrap()?;
        Some(fs::read_to_string(self.home.join("log")).unwrap())
    }

    /// Kills Ansible and all of its processes on this machine. A command on a booted machine goes
    /// on.
    pub(crate) fn kill(mut self) {
        // They leave the process group and the session of Ansible, but they keep its home.
        let home = format!("HOME={}\0", self.home.display());
        until("the processes of Ansible end", || {
            let entries = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap());
            let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            let are_its = |pid: &i32| {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                String::from_utf8_lossy(&environment).contains(&home)
            };
            let pids: Vec<i32> = pids.filter(are_its).collect();
            for pid in &pids {
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            if pids.is_empty() { Ok(()) } else { Err(format!("{pids:?}")) }
        });
        assert!(!self.ansible.wait().unwrap().success());
    }
}

/// The machines, the version of Ansible, and the files of its operator.
pub(crate) struct Fleet {
    dir: tempfile::TempDir,
    version: &'static str,
    machines: Vec<(&'static str, Machine)>,
    vars: Map<String, Value>,
}

impl Fleet {
    /// Boots machines without the daemon. `vars` are those of the inventory.
    pub(crate) fn boot(version: &'static str, names: &[&'static str], vars: Value) -> Self {
        Self::boot_from("base", version, names, vars, |_| ())
    }

    /// Boots machines of this base after `prepare` has changed the root directory of each.
    pub(crate) fn boot_from(
        base: &str,
        version: &'static str,
        names: &[&'static str],
        vars: Value,
        prepare: impl Fn(&Path),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", key.to_str().unwrap()]);
        let public = fs::read_to_string(key.with_extension("pub")).unwrap();
        let machines = names.iter().map(|name| {
            let machine = Machine::boot_from(base, &[], |root| {
                prepare(root);
                fs::create_dir_all(root.join("root/.ssh")).unwrap();
                fs::write(root.join("root/.ssh/authorized_keys"), &public).unwrap();
            });
            machine.sh("mkdir -p /run/sshd");
            (*name, machine)
        });
        let machines = machines.collect();
        let vars = vars.as_object().unwrap().clone();
        let fleet = Self { dir, version, machines, vars };
        fs::write(fleet.path("vault-password"), "of the vault").unwrap();
        fleet
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn machine(&self, name: &str) -> &Machine {
        &self.machines.iter().find(|(other, _)| *other == name).unwrap().1
    }

    pub(crate) fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter().map(|(_, machine)| machine)
    }

    /// Changes a variable of all machines.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.vars.insert(name.to_owned(), value);
    }

    /// Writes the variables of the vault, which the others name, as an encrypted file.
    pub(crate) fn seal(&self, vars: &Value) {
        let file = self.path("vault.yml");
        fs::write(&file, vars.to_string()).unwrap();
        let sealed = self
            .command("ansible-vault")
            .args(["encrypt", "--vault-password-file"])
            .args([&self.path("vault-password"), &file])
            .output()
            .unwrap();
        assert!(sealed.status.success(), "{sealed:?}");
        assert!(fs::read_to_string(file).unwrap().starts_with("$ANSIBLE_VAULT"));
    }

    /// Writes the inventory. `own` are variables of single machines.
    fn write_inventory(&self, own: &Value) {
        let hosts = self.machines.iter().map(|(name, machine)| {
            let arguments = format!(
                "-F none -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
                 -o LogLevel=ERROR -o ProxyCommand='nsenter -t {} -a /usr/sbin/sshd -i'",
                self.path("key").display(),
                machine.leader()
            );
            let mut vars = own[*name].as_object().cloned().unwrap_or_default();
            vars.insert("ansible_ssh_common_args".to_owned(), arguments.into());
            ((*name).to_owned(), Value::Object(vars))
        });
        let hosts: Map<_, _> = hosts.collect();
        let mut vars = self.vars.clone();
        vars.insert("ansible_user".to_owned(), "root".into());
        let inventory = json!({"imagestore_nodes": {"hosts": hosts, "vars": vars}});
        fs::write(self.path("inventory.yml"), inventory.to_string()).unwrap();
    }

    fn playbook(&self, playbook: &str, own: &Value) -> Command {
        self.write_inventory(own);
        let mut command = self.command("ansible-playbook");
        command.arg("-i").arg(self.path("inventory.yml"));
        command.arg("-e").arg(format!("@{}", self.path("vault.yml").display()));
        command.arg("--vault-password-file").arg(self.path("vault-password"));
        command.arg("-vvv").arg(playbook);
        command
    }

    /// Starts a play that the test will kill.
    pub(crate) fn start(&self, playbook: &str) -> RunningPlay {
        let log = fs::File::create(self.path("log")).unwrap();
        let mut command = self.playbook(playbook, &json!({}));
        let ansible = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        RunningPlay { ansible, home: self.dir.path().to_owned() }
    }

    /// Runs a play with the role of this tree.
    pub(crate) fn play(&self, playbook: &str, own: &Value, args: &[&str]) -> Play {
        let Output { status, stdout, stderr } =
            self.playbook(playbook, own).args(args).output().unwrap();
        let output = String::from_utf8([stdout, stderr].concat()).unwrap();
        let shown = output.lines().find(|line| line.contains(CANARY));
        assert_eq!(shown, None, "a secret is shown");
        Play { output, is_success: status.success() }
    }

    fn command(&self, program: &str) -> Command {
        let program = tree().join(format!("target/ansible-{}/bin/{program}", self.version));
        assert!(program.exists(), "there is no {}: `make test-deploy`", program.display());
        let mut command = Command::new(program);
        command.current_dir(tree().join("deploy/ansible")).stdin(Stdio::null());
        // Nothing of the user who runs the tests applies.
        command.env_clear().env("HOME", self.dir.path()).env("LANG", "C.UTF-8");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("ANSIBLE_NOCOLOR", "1");
        command
    }
}

/// Returns a line for each file of the machine that an installation could change.
pub(crate) fn files_of(machine: &Machine) -> Vec<String> {
    let listed = machine.sh("find /etc /usr /opt /srv /home /root /var/lib /var/backups /tmp \
         \\( -path /var/lib/systemd -o -path /root/.ansible -o -path '/tmp/systemd-*' \\) -prune \
         -o -printf '%p %y %m %u %g %s %T@ %C@\\n' | sort");
    // An entry of a directory comes and goes there.
    let is_steady = |line: &&str| !line.starts_with("/root d") && !line.starts_with("/tmp d");
    listed.lines().filter(is_steady).map(str::to_owned).collect()
}

/// Panics if a file has changed.
pub(crate) fn unchanged(machine: &Machine, before: &[String]) {
    let now = files_of(machine);
    let changed: Vec<_> = now.iter().filter(|line| !before.contains(line)).collect();
    assert!(changed.is_empty() && now.len() == before.len(), "changed: {changed:?}");
}

/// Panics if a secret is in the journal of the machine, or in a file that each user can read.
pub(crate) fn keeps_its_secrets(machine: &Machine) {
    let journal = machine.sh("journalctl --no-pager -o cat");
    let shown = journal.lines().find(|line| line.contains(CANARY));
    assert_eq!(shown, None);
    let open = format!("find / -xdev -type f -perm -o=r -exec grep -l {CANARY} {{}} +");
    assert_eq!(String::from_utf8_lossy(&machine.try_sh(&open).stdout), "");
    // The search finds a file that it is to find.
    let kept = format!("grep -rl {CANARY} /etc/imagestore-agent");
    assert!(!machine.sh(&kept).is_empty());
}

/// Builds a package with this version into the directory.
pub(crate) fn package_in(version: &str, dir: &Path) -> String {
    crate::package::package(version, dir);
    dir.join(format!("{version}.deb")).display().to_string()
}

/// Gives a machine a disk and a user who can log in.
pub(crate) fn furnish(machine: &Machine, disk: &str, password: &str) {
    machine.sh(&format!(
        "mkdir -p '{disk}' && mount -t tmpfs -o size=64m images '{disk}' && systemctl start ssh && \
         useradd -m storage && echo 'storage:{password}' | chpasswd"
    ));
}

pub(crate) fn password() -> String {
    format!("a \"{CANARY}\" of $quotes and\\ more")
}

/// Returns the variables of a store with the password of the vault.
pub(crate) fn store(path: &str) -> Value {
    json!({"name": "images", "path": path, "hostname": "127.0.0.1", "username": "storage",
           "password": "{{ vault_password }}"})
}

/// Returns the uuids, names and statuses that the daemon lists.
pub(crate) fn stores(machine: &Machine) -> String {
    machine.sh(&format!("{AGENT} list -H --columns uuid,name,path,status"))
}

pub(crate) fn settings(more: Value) -> Value {
    let mut settings = json!({"storage": {"reserved": "0B"}});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings
}
