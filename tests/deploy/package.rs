//! The Debian package is installed, upgraded, backed up, restored and purged.

use std::path::Path;

use crate::machine::{Machine, PROGRAM, tree};
use crate::support::requirements::run;
use crate::systemd::{add, furnish};

const AGENT: &str = "imagestore-agent";

/// Builds a package of the tested daemon with this version into this directory.
pub(crate) fn package(version: &str, into: &Path) {
    let (program, version_is) = (format!("PROGRAM={PROGRAM}"), format!("VERSION={version}"));
    // Both kinds of package are staged in the same folder.
    let lock = std::fs::File::create(tree().join("target/deploy/packing")).unwrap();
    lock.lock().unwrap();
    run(
        "make",
        &["-s", "-C", tree().to_str().unwrap(), "deb", &program, &version_is, "XZ_LEVEL=0"],
    );
    let arch = run("dpkg", &["--print-architecture"]);
    let built = tree().join(format!("target/deb/{AGENT}_{version}_{}.deb", arch.trim()));
    std::fs::copy(built, into.join(format!("{version}.deb"))).unwrap();
}

#[test]
fn the_package_installs_upgrades_with_its_state_and_is_purged_without_touching_images() {
    let mut machine = Machine::boot_with(&[], |root| {
        package("0.0.1", &root.join("root"));
        package("0.0.2", &root.join("root"));
    });
    furnish(&machine, "/var/lib/imagestore");
    machine.sh("dpkg -i /root/0.0.1.deb");
    assert_eq!(machine.shows("ActiveState"), "inactive", "starting it is the operator's decision");
    machine.sh(&format!("systemctl enable --now {AGENT}"));
    machine.sh(&format!(
        "mkdir /var/lib/imagestore/images && {AGENT} init /var/lib/imagestore/images"
    ));
    machine.sh(&add("/var/lib/imagestore/images"));
    let listed = machine.sh(&format!("{AGENT} list --json"));

    let pid = machine.shows("MainPID");
    machine.sh("echo '# mine' >> /etc/imagestore-agent/agent.toml && dpkg -i /root/0.0.2.deb");
    assert_eq!(machine.shows("ActiveState"), "active");
    assert_ne!(machine.shows("MainPID"), pid, "the new program runs");
    assert_eq!(machine.sh(&format!("{AGENT} list --json")), listed);
    machine.sh("grep -q mine /etc/imagestore-agent/agent.toml");

    // A ledger of a newer version stays unchanged, and the error names it.
    let newer = "PRAGMA user_version = 99; UPDATE meta SET value = '7.0' WHERE key = 'written_by'";
    let file = format!("/var/lib/{AGENT}/ledger.sqlite");
    machine.sh(&format!("systemctl stop {AGENT} && cp -p {file} /root/kept"));
    machine.sh(&format!("sqlite3 {file} \"{newer}\" && cp {file} /root/newer"));
    assert!(!machine.try_sh(&format!("systemctl start {AGENT}")).status.success());
    assert_eq!(
        (machine.shows("ExecMainStatus"), machine.shows("NRestarts")),
        ("65".into(), "0".into())
    );
    assert!(machine.journal().contains("7.0"), "{}", machine.journal());
    machine.sh(&format!(
        "cmp {file} /root/newer && cp -p /root/kept {file} && systemctl start {AGENT}"
    ));
    assert_eq!(machine.sh(&format!("{AGENT} list --json")), listed);

    // As in the operations manual: the backup runs beside the daemon, the restore follows a loss.
    machine.sh(&format!(
        "cd /var/lib/{AGENT} && mkdir /backup && \
         sqlite3 ledger.sqlite \"VACUUM INTO '/backup/ledger.sqlite'\" && \
         cp -p node-id master-key /backup/ && systemctl stop {AGENT} && \
         rm -rf /var/lib/{AGENT}/* && cp -p /backup/* /var/lib/{AGENT}/ && \
         chown {AGENT}: /var/lib/{AGENT}/* && chmod 600 /var/lib/{AGENT}/* && systemctl start {AGENT}"
    ));
    assert_eq!(machine.sh(&format!("{AGENT} list --json")), listed);
    machine.until("the store is probed", |machine| {
        machine.shows("StatusText") == "1 store: 1 Connected"
    });
    machine.sh(&format!("{AGENT} reconnect --all"));

    machine.sh("echo an image > /var/lib/imagestore/images/registry/image");
    machine.sh(&format!("dpkg --purge {AGENT}"));
    machine.sh(&format!("! test -e /var/lib/{AGENT} && ! test -e /etc/{AGENT}"));
    machine.sh("! test -e /usr/lib/systemd/system/imagestore-agent.service");
    machine.sh("grep -q 'an image' /var/lib/imagestore/images/registry/image");
    machine.sh("test -e /var/lib/imagestore/images/.imagestore-agent/identity.json");
}

/// There is no RHEL to install the package on: the test queries and unpacks it, and runs its
/// program.
#[test]
fn the_rpm_holds_what_the_deb_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (program, version) = (format!("PROGRAM={PROGRAM}"), "0.0.9");
    let version_is = format!("VERSION={version}");
    let make = |what| {
        run(
            "make",
            &["-s", "-C", tree().to_str().unwrap(), what, &program, &version_is, "XZ_LEVEL=0"],
        )
    };
    let lock = std::fs::File::create(tree().join("target/deploy/packing")).unwrap();
    lock.lock().unwrap();
    make("deb");
    make("rpm");
    lock.unlock().unwrap();
    let arch = run("dpkg", &["--print-architecture"]);
    let deb = tree().join(format!("target/deb/{AGENT}_{version}_{}.deb", arch.trim()));
    let rpm = run(
        "sh",
        &["-c", &format!("ls {}/target/rpm/*/{AGENT}-{version}-1.*.rpm", tree().display())],
    );
    let rpm = rpm.trim();
    let listed = |text: String| -> std::collections::BTreeSet<String> {
        let paths = text.lines().map(|line| line.trim_start_matches('.').to_owned());
        paths.filter(|path| !path.ends_with('/')).collect()
    };
    let of_deb = run("sh", &["-c", &format!("dpkg-deb --fsys-tarfile {} | tar -t", deb.display())]);
    let of_rpm = run("rpm", &["-qpl", rpm]);
    let docs = "/usr/share/doc/imagestore-agent";
    let directories = [docs.to_owned(), format!("{docs}/zh")].into();
    assert_eq!(&listed(of_rpm) - &directories, listed(of_deb));
    let config_files = run("rpm", &["-qp", "--configfiles", rpm]);
    assert_eq!(config_files.trim(), "/etc/imagestore-agent/agent.toml");
    let unpack = format!("cd {} && rpm2cpio {rpm} | cpio -idm --quiet", dir.path().display());
    run("sh", &["-c", &unpack]);
    let unpacked = dir.path().join("usr/bin/imagestore-agent");
    let version = run(unpacked.to_str().unwrap(), &["--version"]);
    assert!(version.starts_with(AGENT), "{version}");
}
