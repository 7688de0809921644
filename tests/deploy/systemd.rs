//! The packaged units, run by systemd.

use std::time::{Duration, Instant};

use crate::machine::{Machine, uuid_in};
use crate::support::filesystems::MountedFs;
use crate::support::fuse::{Behaviour, Fuse, Op};

const AGENT: &str = "imagestore-agent";

/// Gives a machine a disk for images, an sshd, and a user whose login proves a store.
pub(crate) fn furnish(machine: &Machine, disk: &str) {
    machine.sh(&format!(
        "mkdir -p '{disk}' && mount -t tmpfs -o size=64m images '{disk}' && systemctl start ssh && \
         useradd -m storage && echo storage:secret | chpasswd"
    ));
}

fn storage_node(disk: &str) -> Machine {
    let machine = Machine::boot(&[]);
    furnish(&machine, disk);
    machine
}

/// Returns the command that adds a store there.
pub(crate) fn add(path: &str) -> String {
    format!(
        "echo secret | {AGENT} add --name images --path {path} --hostname 127.0.0.1 \
         --username storage --password-stdin --json"
    )
}

#[test]
fn it_is_installed_started_given_a_store_and_reloaded() {
    let mut machine = storage_node("/var/lib/imagestore");
    machine.sh("mkdir /var/lib/imagestore/images");
    machine.sh(&format!("systemctl enable --now {AGENT}"));
    assert_eq!(machine.shows("ActiveState"), "active");
    let pid = machine.shows("MainPID");
    assert_eq!(machine.sh(&format!("ps -o user= -p {pid}")), AGENT);
    assert_eq!(machine.sh(&format!("grep CapEff /proc/{pid}/status")), "CapEff:\t0000000000000000");

    let found = machine.sh(&format!("{AGENT} init /var/lib/imagestore/images --json"));
    assert!(found.contains("\"capacity\"") || found.contains("totalCapacity"), "{found}");
    let added = machine.sh(&add("/var/lib/imagestore/images"));
    let uuid = uuid_in(&added);
    let again = machine.sh(&format!("{AGENT} reconnect {uuid} --json"));
    assert!(again.contains("Connected"), "{again}");
    machine.until("the stores are counted", |machine| {
        machine.shows("StatusText") == "1 store: 1 Connected"
    });

    // The tokens file of the reload has this session.
    machine.sh("token=4711; hash=$(printf %s $token | sha256sum | cut -d' ' -f1); \
         printf 'mn-1:%s:read\\n' $hash > /etc/imagestore-agent/tokens && \
         chown root:imagestore-agent /etc/imagestore-agent/tokens && \
         chmod 640 /etc/imagestore-agent/tokens && printf %s $token > /root/token && chmod 600 /root/token && \
         printf '[auth]\\ntokens_file = \"/etc/imagestore-agent/tokens\"\\n' \
             > /etc/imagestore-agent/agent.toml");
    let list = format!("{AGENT} list --url http://127.0.0.1:7811 --token-file /root/token");
    assert!(!machine.try_sh(&list).status.success());
    machine.sh(&format!("systemctl reload {AGENT}"));
    machine.until("the token is known", |machine| machine.try_sh(&list).status.success());

    // No other user can read a file, and the socket is accessible for its owner and its group.
    let open = "find /var/lib/imagestore-agent /etc/imagestore-agent -perm /o+rwx -not -type l";
    assert_eq!(machine.sh(&format!("{open} -not -name agent.toml")), "");
    let denied = format!("setpriv --reuid=65534 --regid=65534 --clear-groups {AGENT} list");
    assert!(!machine.try_sh(&denied).status.success());
}

#[test]
fn a_directory_outside_the_sandbox_says_so_and_a_drop_in_lets_it_in() {
    let machine = storage_node("/srv/images");
    machine.write(
        "/etc/imagestore-agent/agent.toml",
        "[storage]\nallowed_roots = [\"/srv/images\"]\n",
    );
    machine.sh(&format!("chown {AGENT}: /srv/images && systemctl start {AGENT}"));
    let refused = machine.try_sh(&add("/srv/images"));
    let output = String::from_utf8_lossy(&[refused.stdout, refused.stderr].concat()).into_owned();
    assert!(output.contains("namespace_read_only"), "{output}");
    assert!(output.contains("ReadWritePaths"), "the remedy names the drop-in: {output}");
    machine.write(
        "/etc/systemd/system/imagestore-agent.service.d/images.conf",
        "[Service]\nReadWritePaths=-/srv/images\n",
    );
    machine.sh(&format!("systemctl daemon-reload && systemctl restart {AGENT}"));
    machine.sh(&add("/srv/images"));
}

#[test]
fn a_frozen_daemon_is_killed_and_started_anew() {
    let mut machine = Machine::boot(&[]);
    machine.write(
        "/etc/systemd/system/imagestore-agent.service.d/quick.conf",
        "[Service]\nWatchdogSec=2s\nRestartSec=100ms\n",
    );
    machine.sh(&format!("systemctl daemon-reload && systemctl start {AGENT}"));
    let pid = machine.shows("MainPID");
    machine.sh(&format!("kill -STOP {pid}"));
    machine.until("another process", |machine| {
        machine.shows("NRestarts") == "1" && machine.shows("ActiveState") == "active"
    });
    assert_ne!(machine.shows("MainPID"), pid);
    assert!(machine.sh(&format!("journalctl --no-pager -u {AGENT}")).contains("Watchdog timeout"));
}

#[test]
fn a_restart_under_requests_refuses_nobody_with_the_socket_unit() {
    let machine = Machine::boot(&[]);
    machine.sh(&format!("systemctl enable --now {AGENT}.socket"));
    // The first caller starts the daemon.
    machine.sh(&format!("{AGENT} list"));
    assert_eq!(machine.shows("ActiveState"), "active");
    let script = format!(
        "(n=0; while [ ! -e /tmp/over ]; do {AGENT} list || exit 1; n=$((n+1)); done; echo $n) \
             > /tmp/asked 2>&1 & asking=$!; \
         for n in 1 2 3 4 5; do systemctl restart {AGENT} || exit 1; done; \
         touch /tmp/over; wait $asking || {{ cat /tmp/asked; exit 1; }}; tail -n 1 /tmp/asked"
    );
    let count: u32 = machine.sh(&script).parse().unwrap();
    assert!(count > 5, "only {count}");
}

#[test]
fn a_worker_that_cannot_die_holds_up_no_restart() {
    let disk = MountedFs::of("ext4");
    let images = disk.path();
    let mut machine = Machine::boot(&[&images]);
    let root = images.to_str().unwrap();
    machine.write(
        "/etc/imagestore-agent/agent.toml",
        format!(
            "[storage]\nallowed_roots = [{root:?}]\nwrite_probe_interval = \"1s\"\n\
             [monitor]\ninterval = \"1s\"\nprobe_deadline = \"1s\"\n"
        ),
    );
    machine.write(
        "/etc/systemd/system/imagestore-agent.service.d/images.conf",
        format!("[Service]\nReadWritePaths=-{root}\nPrivateTmp=no\n"),
    );
    machine.sh(&format!(
        "useradd -m storage && echo storage:secret | chpasswd && systemctl start ssh && \
         chown {AGENT}: {root} && systemctl daemon-reload && systemctl start {AGENT}"
    ));
    machine.sh(&add(root));
    let frozen = disk.frozen();
    let stuck = "ps -e -o stat=,comm= | grep -q '^D.*isw-'";
    machine
        .until("a worker sleeps uninterruptibly", |machine| machine.try_sh(stuck).status.success());
    let begun = Instant::now();
    machine.sh(&format!("systemctl restart {AGENT}"));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(machine.shows("ActiveState"), "active");
    machine.sh(stuck);
    println!("restarted in {took:?} beside a worker that cannot die");
    drop(frozen);
    machine.until("the worker is gone", |machine| !machine.try_sh(stuck).status.success());
}

/// Mounts without a server, on the directory that the unit names, below it, and elsewhere. A
/// process that calls `statfs` on one sleeps uninterruptibly.
#[test]
fn dead_mounts_hold_up_no_start() {
    // Longer than systemd waits for a start.
    let dead = [(); 3].map(|()| Fuse::mounted_for(Duration::from_secs(600)));
    let paths = dead.each_ref().map(Fuse::path);
    let machine = Machine::boot(&paths.each_ref().map(|path| path.as_path()));
    let places = ["/var/lib/imagestore", "/var/lib/imagestore/below", "/srv/elsewhere"];
    for (path, at) in paths.iter().zip(places) {
        machine.sh(&format!("mkdir -p {at} && mount --bind {} {at}", path.display()));
    }
    for (dead, at) in dead.iter().zip(places) {
        dead.set(Op::Statfs, Behaviour::Hang);
        machine.sh(&format!("stat -f {at} > /dev/null 2>&1 &"));
        dead.until_hanging(1);
    }
    for action in ["start", "restart"] {
        let begun = Instant::now();
        machine.sh(&format!("systemctl {action} {AGENT}"));
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(15), "{action}: {took:?}");
        println!("{action}: {took:?} beside dead mounts");
        machine.sh(&format!("{AGENT} list"));
    }
    for dead in &dead {
        dead.until_hanging(1);
    }
}

#[test]
fn a_master_key_comes_from_a_credential() {
    let machine = storage_node("/var/lib/imagestore");
    let unlock = |key: &str| {
        let script = format!(
            "mkdir -p /etc/credstore && chmod 700 /etc/credstore && \
             printf %s {key} | base64 > /etc/credstore/master-key && systemctl restart {AGENT}"
        );
        machine.sh(&script);
    };
    unlock("0123456789abcdef0123456789abcdef");
    machine.sh(&format!(
        "mkdir /var/lib/imagestore/images && {AGENT} init /var/lib/imagestore/images"
    ));
    machine.sh(&add("/var/lib/imagestore/images"));
    machine.sh(&format!("! test -e /var/lib/{AGENT}/master-key"));
    machine.sh(&format!("systemctl restart {AGENT} && {AGENT} reconnect --all"));
    unlock("another-key-of-thirty-two-bytes-");
    let refused = machine.try_sh(&format!("{AGENT} reconnect --all"));
    let output = String::from_utf8_lossy(&[refused.stdout, refused.stderr].concat()).into_owned();
    assert!(output.contains("secret_unreadable"), "{output}");
    unlock("0123456789abcdef0123456789abcdef");
    machine.sh(&format!("{AGENT} reconnect --all"));
}
