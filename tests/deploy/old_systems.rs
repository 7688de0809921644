//! The packages on systems that are older than the one that built them: another C library, another
//! systemd. Their program is the static one, built without optimisation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::machine::{Machine, tree};
use crate::support::requirements::run;
use crate::systemd::{add, furnish};

const AGENT: &str = "imagestore-agent";

/// The program of `make static-program`, without its symbols.
fn static_program(into: &Path) -> PathBuf {
    let target = format!("target/{}-unknown-linux-gnu/debug/{AGENT}", std::env::consts::ARCH);
    let built = tree().join(target);
    assert!(built.exists(), "there is no static program: `make static-program`");
    let program = into.join("program");
    run("strip", &["-o", program.to_str().unwrap(), built.to_str().unwrap()]);
    program
}

/// Builds both packages of the static program with this version into this directory.
fn packages(version: &str, into: &Path) {
    build(version, into, &["deb", "rpm"]);
}

/// Builds packages of these kinds of the static program with this version into this directory.
pub(crate) fn build(version: &str, into: &Path, kinds: &[&str]) {
    let program = static_program(into);
    let variables = [
        format!("PROGRAM={}", program.display()),
        format!("VERSION={version}"),
        format!("OUT={}", into.display()),
        "XZ_LEVEL=0".to_owned(),
    ];
    let words = ["-s", "-C", tree().to_str().unwrap(), "check-program"];
    let variables: Vec<&str> = variables.iter().map(String::as_str).collect();
    run("make", &[words.as_slice(), kinds, &variables].concat());
}

fn deb_in(into: &Path, version: &str) -> String {
    let arch = run("dpkg", &["--print-architecture"]);
    into.join(format!("deb/{AGENT}_{version}_{}.deb", arch.trim())).display().to_string()
}

#[test]
fn the_packages_are_static_and_need_no_c_library() {
    let dir = tempfile::tempdir().unwrap();
    packages("0.0.4", dir.path());
    let deb = deb_in(dir.path(), "0.0.4");
    let depends = run("dpkg-deb", &["-f", &deb, "Depends"]);
    assert!(!depends.contains("libc") && depends.contains("systemd"), "{depends}");
    let rpm = run("sh", &["-c", &format!("ls {}/rpm/*/*.rpm", dir.path().display())]);
    let needs = run("rpm", &["-qp", "--requires", rpm.trim()]);
    assert!(!needs.contains("libc") && !needs.contains("GLIBC"), "{needs}");
    for unpack in [
        format!("dpkg-deb -x {deb} {0}/of-deb", dir.path().display()),
        format!(
            "mkdir {0}/of-rpm && cd {0}/of-rpm && rpm2cpio {rpm} | cpio -idm --quiet",
            dir.path().display(),
            rpm = rpm.trim()
        ),
    ] {
        run("sh", &["-c", &unpack]);
    }
    for unpacked in ["of-deb", "of-rpm"] {
        let program = dir.path().join(unpacked).join("usr/bin").join(AGENT);
        let headers = run("readelf", &["-lW", program.to_str().unwrap()]);
        assert!(!headers.contains("DYNAMIC") && !headers.contains("INTERP"), "{headers}");
    }
}

/// The modules that nsswitch names there belong to another version of the C library.
#[test]
fn the_package_runs_with_an_older_c_library_and_an_older_systemd() {
    let mut machine = Machine::boot_from("old-base", &[], |root| {
        packages("0.0.5", &root.join("root"));
        packages("0.0.6", &root.join("root"));
        let names = "passwd: compat systemd\ngroup: compat systemd\nhosts: hesiod files dns\n";
        fs::write(root.join("etc/nsswitch.conf"), names).unwrap();
        fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    });
    assert!(machine.sh("systemctl --version").starts_with("systemd 229\n"));
    furnish(&machine, "/var/lib/imagestore");
    let install = |version| format!("dpkg -i /root/deb/{AGENT}_{version}_*.deb");
    machine.sh(&install("0.0.5"));
    machine.sh(&format!("systemctl enable {AGENT} && systemctl start {AGENT}"));
    machine.sh(&format!("{AGENT} healthcheck && {AGENT} check-config"));
    machine.sh(&format!(
        "mkdir /var/lib/imagestore/images && {AGENT} init /var/lib/imagestore/images"
    ));
    let added = machine.sh(&add("/var/lib/imagestore/images").replace("127.0.0.1", "localhost"));
    assert!(added.contains("Connected"), "{added}");
    let pid = machine.shows("MainPID");
    assert_eq!(machine.sh(&format!("ps -o user:20= -p {pid}")), AGENT);
    assert_eq!(machine.sh(&format!("grep CapEff /proc/{pid}/status")), "CapEff:\t0000000000000000");
    assert_eq!(machine.sh(&format!("grep -c '\\.so' /proc/{pid}/maps || true")), "0");
    machine
        .sh(&format!("nsenter -t {pid} -m sh -c '! touch /usr/written && ! touch /etc/written'"));

    machine.sh(&install("0.0.6"));
    machine.sh(&format!("systemctl is-active {AGENT}"));
    assert_ne!(machine.shows("MainPID"), pid);
    machine.until("the store is probed", |machine| {
        machine.shows("StatusText") == "1 store: 1 Connected"
    });

    // An earlier package, while the daemon is stopped: it stays stopped.
    machine.sh(&format!("systemctl stop {AGENT} && {}", install("0.0.5")));
    assert!(!machine.try_sh(&format!("systemctl is-active {AGENT}")).status.success());
    machine.sh(&format!("systemctl start {AGENT} && {AGENT} reconnect --all"));

    // The unit alone would not start here, so that the drop-in of the package is needed.
    let drop_in = "/usr/lib/systemd/system/imagestore-agent.service.d/old-systemd.conf";
    let alone =
        format!("mv {drop_in} /root/ && systemctl daemon-reload && systemctl restart {AGENT}");
    assert!(!machine.try_sh(&alone).status.success());
    machine.sh(&format!("dpkg --purge {AGENT} && ! test -e {drop_in}"));
}

/// From systemd 232 to 238, the drop-in of the package only lifts the filter of system calls.
#[test]
fn the_package_runs_with_systemd_237_and_its_strict_protection() {
    let mut machine = Machine::boot_from("bionic-base", &[], |root| {
        build("0.0.5", &root.join("root"), &["deb"]);
    });
    assert!(machine.sh("systemctl --version").starts_with("systemd 237\n"));
    furnish(&machine, "/var/lib/imagestore");
    machine.sh(&format!("dpkg -i /root/deb/*.deb && systemctl enable --now {AGENT}"));
    let drop_in = "/usr/lib/systemd/system/imagestore-agent.service.d/old-systemd.conf";
    let lines = machine.sh(&format!("grep -v '^#' {drop_in}"));
    assert_eq!(lines, "[Service]\nSystemCallFilter=");
    machine.sh(&format!(
        "mkdir /var/lib/imagestore/images && {AGENT} init /var/lib/imagestore/images"
    ));
    let added = machine.sh(&add("/var/lib/imagestore/images"));
    assert!(added.contains("Connected"), "{added}");
    machine.until("the store is probed", |machine| {
        machine.shows("StatusText") == "1 store: 1 Connected"
    });
    let pid = machine.shows("MainPID");
    assert_eq!(machine.sh(&format!("grep CapEff /proc/{pid}/status")), "CapEff:\t0000000000000000");
    for protected in ["/usr", "/etc", "/srv", "/var/cache"] {
        machine.sh(&format!("! nsenter -t {pid} -m touch {protected}/written"));
    }
    machine.sh(&format!("nsenter -t {pid} -m touch /var/lib/imagestore/images/written"));
    machine.sh(&format!("dpkg --purge {AGENT} && ! test -e {drop_in}"));
}

/// The packages use `deploy/setup.sh`, and `make install` uses the files of systemd.
#[test]
fn the_files_of_systemd_make_the_user_and_the_directories_of_the_packages() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().to_str().unwrap();
    run("cp", &["-ax", &format!("{}/.", tree().join("target/deploy/base").display()), dir]);
    let inside = |script: &str| run("chroot", &[dir, "sh", "-ec", script]);
    // Without the numbers, which are the next free ones.
    let made = || {
        let found = inside(&format!(
            "getent passwd {AGENT} | cut -d: -f1,5-; id -Gn {AGENT}; \
             getent group {AGENT} | cut -d: -f1,4; getent shadow {AGENT} | cut -c-{}; \
             stat -c '%n %F %a %U %G' /etc/{AGENT} /var/lib/{AGENT}",
            AGENT.len() + 2
        ));
        assert_eq!(found.lines().count(), 6, "{found}");
        found
    };
    let name = format!("{AGENT}.conf");
    let option = format!("--root={dir}");
    run(
        "make",
        &["-s", "-C", tree().to_str().unwrap(), "install-files", &format!("DESTDIR={dir}")],
    );
    // The directory that `make install` has made for the settings gets its owner and mode, too.
    run("systemd-sysusers", &[&option, &name]);
    run("systemd-tmpfiles", &[&option, "--create", &name]);
    let of_systemd = made();
    inside(&format!("userdel {AGENT}; rm -r /etc/{AGENT} /var/lib/{AGENT}"));
    inside(&fs::read_to_string(tree().join("deploy/setup.sh")).unwrap());
    assert_eq!(of_systemd, made());
}

/// Without a RHEL, a Debian gets the package: its scripts run there as on any system.
#[test]
fn the_rpm_creates_its_user_and_keeps_changed_settings_at_an_upgrade() {
    let (dir, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    packages("0.0.7", dir.path());
    packages("0.0.8", dir.path());
    let base = tree().join("target/deploy/base");
    run("cp", &["-ax", &format!("{}/.", base.display()), root.path().to_str().unwrap()]);
    let rpm = |operation: &str, package: &str| -> Output {
        let script = format!("rpm --root {} --nodeps {operation} {package}", root.path().display());
        Command::new("sh").args(["-c", &script]).output().unwrap()
    };
    let package = |version| format!("{}/rpm/*/{AGENT}-{version}-1.*.rpm", dir.path().display());
    let installed = rpm("-i", &package("0.0.7"));
    assert!(installed.status.success(), "{installed:?}");
    let inside = |script: &str| run("chroot", &[root.path().to_str().unwrap(), "sh", "-c", script]);
    assert!(inside(&format!("getent passwd {AGENT}")).contains("/usr/sbin/nologin"));
    assert_eq!(inside(&format!("stat -c %U:%a /var/lib/{AGENT}")), format!("{AGENT}:750\n"));
    inside(&format!(
        "echo '# mine' >> /etc/{AGENT}/agent.toml; echo state > /var/lib/{AGENT}/kept"
    ));
    let upgraded = rpm("-U", &package("0.0.8"));
    assert!(upgraded.status.success(), "{upgraded:?}");
    inside(&format!("grep -q mine /etc/{AGENT}/agent.toml && grep -q state /var/lib/{AGENT}/kept"));
    assert!(inside(&format!("{AGENT} --version")).starts_with(AGENT));
    let back = rpm("-U --oldpackage", &package("0.0.7"));
    assert!(back.status.success(), "{back:?}");
    let removed = rpm("-e", AGENT);
    assert!(removed.status.success(), "{removed:?}");
    inside(&format!("test -e /var/lib/{AGENT}/kept && ! test -e /usr/bin/{AGENT}"));
}
