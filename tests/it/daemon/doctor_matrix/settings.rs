//! The checks that `doctor` makes itself, without a store.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use imagestore_agent::catalog::DoctorCheck;
use serde_json::json;

use super::Matrix;
use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::scripted_daemon::ScriptedDaemon;
use crate::support::secret_files::write_secret;
use crate::support::test_ca::TestCa;

pub(super) fn run_all(matrix: &mut Matrix) {
    let root = tempfile::tempdir().unwrap();
    let agent = Agent::installed(root.path(), "");
    let plain = agent.settings();
    let with = |more: &str| agent.configure(&format!("{plain}{more}"));

    matrix.good(&agent, DoctorCheck::SettingsValid, &[]);
    with("[surprise]\n");
    matrix.bad(&agent, DoctorCheck::SettingsValid, "error", &[]);

    with("");
    matrix.good(&agent, DoctorCheck::ListenTls, &[]);
    matrix.bad(&agent, DoctorCheck::ListenReachable, "warning", &[]);
    let outside = "listen = [\"0.0.0.0:7811\"]\ninsecure_http = true";
    agent.configure(&plain.replace("listen = [\"127.0.0.1:0\"]", outside));
    matrix.bad(&agent, DoctorCheck::ListenTls, "warning", &[]);
    matrix.good(&agent, DoctorCheck::ListenReachable, &[]);

    with("");
    matrix.good(&agent, DoctorCheck::AuthSessions, &[]);
    let tokens = fs::read_to_string(agent.path("tokens")).unwrap();
    write_secret(agent.path("tokens"), "# none yet\n");
    matrix.bad(&agent, DoctorCheck::AuthSessions, "warning", &[]);
    write_secret(agent.path("tokens"), tokens);

    certificates(matrix, &agent);
    callback(matrix, &agent);
    with("");
    systemd(matrix, &agent, root.path().to_str().unwrap());
    daemon(matrix);
}

fn certificates(matrix: &mut Matrix, agent: &Agent) {
    let (plain, ca) = (agent.settings(), TestCa::new());
    for (check, section, names, bad_days, verdict) in [
        (DoctorCheck::CertificateServer, "[server.tls]\n", ["cert", "key"], 10, "warning"),
        (
            DoctorCheck::CertificateClient,
            "[callback]\nurls = [\"https://localhost:1/\"]\n",
            ["client_cert", "client_key"],
            2,
            "error",
        ),
    ] {
        let set = |(cert, key): (std::path::PathBuf, std::path::PathBuf)| {
            let [cert_name, key_name] = names;
            agent.configure(&format!(
                "{plain}{section}{cert_name} = {cert:?}\n{key_name} = {key:?}\n"
            ));
        };
        set(ca.issue("localhost"));
        matrix.good(agent, check, &[]);
        set(ca.issue_for_days("localhost", bad_days));
        matrix.bad(agent, check, verdict, &[]);
    }
    agent.configure(&plain);
}

fn callback(matrix: &mut Matrix, agent: &Agent) {
    let plain = agent.settings();
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = receiver.local_addr().unwrap();
    agent.configure(&format!("{plain}[callback]\nurls = [\"http://{address}/\"]\n"));
    matrix.good(agent, DoctorCheck::ManagementCallback, &[]);
    drop(receiver);
    matrix.bad(agent, DoctorCheck::ManagementCallback, "error", &[]);
    agent.configure(&plain);
}

/// The answers of systemctl are files here, because this system may have no systemd.
fn systemd(matrix: &mut Matrix, agent: &Agent, root: &str) {
    let (folder, answer) = (agent.path("bin"), agent.path("answer"));
    fs::create_dir(&folder).unwrap();
    let program = folder.join("systemctl");
    fs::write(&program, format!("#!/bin/sh\ncat {answer:?}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    // Only this command sees the folder that systemd creates.
    let script = format!(
        "mount -t tmpfs none /run && mkdir -p /run/systemd/system && \
         PATH={}:$PATH exec \"$@\"",
        folder.display()
    );
    let wrapper = ["unshare", "-m", "sh", "-c", &script, "sh"];
    let run = |args: &[&str]| agent.cli_under(&wrapper, args);
    let running = "LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\n";
    fs::write(&answer, running).unwrap();
    matrix.good_by(DoctorCheck::ServiceRunning, &[], &run);
    fs::write(&answer, running.replace("=active", "=failed")).unwrap();
    matrix.bad_by(DoctorCheck::ServiceRunning, "error", &[], &run);
    for (path, is_good) in [(root, true), ("/var/lib/imagestore", false)] {
        let sandbox = format!(
            "LoadState=loaded\nProtectSystem=strict\nProtectHome=yes\nReadWritePaths=-{path}\n"
        );
        fs::write(&answer, sandbox).unwrap();
        match is_good {
            true => matrix.good_by(DoctorCheck::SettingsSandbox, &[], &run),
            false => matrix.bad_by(DoctorCheck::SettingsSandbox, "error", &[], &run),
        }
    }
}

/// The daemon itself, and its state directory.
fn daemon(matrix: &mut Matrix) {
    use DoctorCheck::{
        ManagementAgentAllow, ProgramVersion, ServiceAnswers, ServiceClock, StateLedger,
        StateSpace, StateWritable,
    };
    let (root, disk) = (tempfile::tempdir().unwrap(), MountedFs::tmpfs("size=1g"));
    let mut agent = Agent::installed(root.path(), "");
    let old = format!("dir = {:?}", agent.path("state"));
    let plain = agent.settings().replace(&old, &format!("dir = {:?}", disk.path()));
    agent.configure(&plain);
    agent.start();
    for check in [ProgramVersion, ServiceAnswers, ServiceClock, StateLedger, StateSpace] {
        matrix.good(&agent, check, &[]);
    }
    matrix.good(&agent, StateWritable, &[]);
    // A call from an address that no network of the empty list contains.
    let call = |agent: &Agent| {
        let url = format!("http://{}/imagestore/echo", agent.address());
        let status = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "-d", "{}"])
            .arg(url)
            .output()
            .unwrap();
        String::from_utf8(status.stdout).unwrap()
    };
    assert_eq!(call(&agent), "403");
    matrix.bad(&agent, ManagementAgentAllow, "warning", &[]);
    assert!(agent.terminate().0.success());
    matrix.bad(&agent, ServiceAnswers, "error", &[]);

    agent.configure(&plain.replace("[server]\n", "[server]\nagent_allow = [\"127.0.0.0/8\"]\n"));
    // The epoch of this run is in the year 2100.
    agent.start_with(&["--new-epoch-floor", "4102444800000"]);
    assert_eq!(call(&agent), "200");
    matrix.good(&agent, ManagementAgentAllow, &[]);
    matrix.bad(&agent, ServiceClock, "error", &[]);
    assert!(agent.terminate().0.success());
    matrix.bad(&agent, ServiceClock, "error", &[]);

    let body = json!({"stores": [], "checks": [], "version": "0.0.1"});
    let other = ScriptedDaemon::answering(200, &body);
    matrix.bad(&agent, ProgramVersion, "warning", &["--url", &other.url]);

    disk.remount("ro");
    matrix.bad(&agent, StateWritable, "error", &[]);
    disk.remount("rw");
    disk.remount("size=16m");
    matrix.bad(&agent, StateSpace, "warning", &[]);
    fs::write(disk.path().join("ledger.sqlite"), "no ledger").unwrap();
    matrix.bad(&agent, StateLedger, "error", &[]);
}
