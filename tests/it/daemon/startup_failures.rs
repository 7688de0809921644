//! Starts that are refused: each has its exit code and its reason and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Method;
use nix::sys::signal::Signal;

use crate::support::agent::{Agent, TEST_TIMEOUT};

fn installed() -> Agent {
    Agent::installed(Path::new("/var/lib/imagestore"), "")
}

fn refused(agent: &Agent, code: i32) -> String {
    let output = agent.run_serve_to_end();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

#[test]
fn bad_settings_are_all_listed_and_nothing_is_bound() {
    let agent = installed();
    // The port is in use: a start that bound before it validated the settings would exit with 69.
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let good = agent.settings().replace("127.0.0.1:0", &address);
    let more = "[monitor]\ninterval = \"0s\"\nsurprise = 1\n[callback]\nmax_pending = 3\n";
    agent.configure(&format!("{good}{more}"));
    let output = refused(&agent, 64);
    for key in ["monitor.interval", "monitor.surprise", "callback.max_pending"] {
        assert!(output.contains(key), "{output}");
    }
    assert!(!agent.path("state").exists());
    let checked = agent.cli(&["check-config"], "");
    assert_eq!(checked.status.code(), Some(64));
    assert_eq!(String::from_utf8_lossy(&checked.stderr), output);
    // With valid settings the port is the fault.
    agent.configure(&good);
    assert!(refused(&agent, 69).contains(&address));
}

#[test]
fn a_second_daemon_names_the_process_that_has_locked_the_state_directory() {
    let mut agent = installed();
    agent.start();
    let output = refused(&agent, 75);
    assert!(output.contains("locked by another daemon"), "{output}");
    agent.kill();
    agent.start();
    assert!(agent.terminate().0.success());
}

#[test]
fn a_port_that_is_taken_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let agent = installed();
    agent.configure(&agent.settings().replace("127.0.0.1:0", &address));
    assert!(refused(&agent, 69).contains(&address));
}

fn contents(state: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
    // The lock file names the last process and holds no other record.
    let files = entries.filter(|path| path.is_file() && path.file_name().unwrap() != "lock");
    files.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

#[test]
fn a_damaged_or_newer_ledger_stops_the_start_and_stays_as_it_was() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 3] = [
        ("damaged", |ledger| fs::write(ledger, b"not a ledger at all, of some length").unwrap()),
        ("damaged", |ledger| {
            let sqlite = rusqlite::Connection::open(ledger).unwrap();
            sqlite.execute_batch("UPDATE meta SET value = 'soon' WHERE key = 'epoch'").unwrap();
        }),
        ("format 99", |ledger| {
            let sqlite = rusqlite::Connection::open(ledger).unwrap();
            sqlite.execute_batch("PRAGMA user_version = 99").unwrap();
        }),
    ];
    for (word, damage) in damages {
        let mut agent = installed();
        agent.start();
        assert!(agent.terminate().0.success());
        damage(&agent.path("state/ledger.sqlite"));
        let before = contents(&agent.path("state"));
        let output = refused(&agent, 65);
        assert!(output.contains(word) && output.contains("ledger.sqlite"), "{output}");
        assert_eq!(contents(&agent.path("state")), before);
    }
}

#[tokio::test]
async fn a_hangup_signal_takes_new_tokens_and_names_what_needs_a_restart() {
    let mut agent = installed();
    agent.start();
    let list = "/image-store";
    assert_eq!(agent.ask(Method::GET, list, None).await.status, 200);
    // Settings with a fault change nothing.
    let good = agent.settings();
    agent.configure("nonsense = 1");
    agent.signal(Signal::SIGHUP);
    agent.until_logged("reload failed; nothing changed");
    assert_eq!(agent.ask(Method::GET, list, None).await.status, 200);

    agent.configure(&format!("{good}[monitor]\ninterval = \"33s\"\n"));
    fs::write(agent.path("tokens"), format!("other:{}\n", "0".repeat(64))).unwrap();
    agent.signal(Signal::SIGHUP);
    agent.until_logged("need a restart");
    assert!(agent.log().contains("monitor"));
    assert_eq!(agent.ask(Method::GET, list, None).await.status, 401);
    assert!(agent.cli(&["list"], "").status.success(), "the socket needs no token");
}

#[test]
fn systemd_hears_when_it_serves_reloads_and_stops() {
    let mut agent = installed();
    let path = agent.path("systemd");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let hear = || {
        let mut output = [0; 4096];
        let length = systemd.recv(&mut output).expect("systemd got no notification");
        String::from_utf8_lossy(&output[..length]).into_owned()
    };
    assert!(agent.start_under(&["env", &format!("NOTIFY_SOCKET={}", path.display())]));
    let mut first = [hear(), hear()];
    first.sort();
    assert_eq!(first, ["READY=1\n", "STATUS=no store\n"]);
    agent.signal(Signal::SIGHUP);
    let output = hear();
    assert!(output.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{output}");
    assert_eq!(hear(), "READY=1\n");
    assert!(agent.terminate().0.success());
    assert_eq!(hear(), "STOPPING=1\n");
}

/// Sends messages to a socket until its queue is full.
fn fill(path: &Path) {
    loop {
        // The queue of the sender itself must not be the one that is full.
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        match sender.send_to(b"X=1\n", path) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_systemd_that_does_not_read_delays_neither_the_daemon_nor_its_stop() {
    let mut agent = installed();
    let path = agent.path("systemd");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    fill(&path);
    let words = [format!("NOTIFY_SOCKET={}", path.display()), "WATCHDOG_USEC=300000".to_owned()];
    assert!(agent.start_under(&["env", &words[0], &words[1]]));
    agent.until_logged("notifications to systemd delayed");
    agent.signal(Signal::SIGHUP);
    agent.until_logged("callers and signing secrets reloaded");
    assert_eq!(agent.ask(Method::GET, "/image-store", None).await.status, 200);

    // What waited comes in its order, with the next ping.
    let mut heard: Vec<String> = Vec::new();
    while heard.last().is_none_or(|last| last != "WATCHDOG=1\n") {
        let mut output = [0; 4096];
        let length = systemd.recv(&mut output).expect("systemd got no notification");
        let text = String::from_utf8_lossy(&output[..length]).into_owned();
        heard.extend((text != "X=1\n").then_some(text));
    }
    let position = |start: &str| heard.iter().position(|text| text.starts_with(start)).unwrap();
    assert_eq!(position("READY=1"), 0, "{heard:?}");
    assert!(position("RELOADING=1") > 0 && position("STATUS=no store") > 0, "{heard:?}");
    assert_eq!(heard.iter().filter(|text| *text == "READY=1\n").count(), 2, "{heard:?}");
    agent.until_logged("notifications to systemd recovered");

    fill(&path);
    assert!(agent.terminate().0.success());
    assert_eq!(agent.log().matches("notifications to systemd delayed").count(), 2);
}

#[test]
fn a_watchdog_is_fed_by_a_runtime_that_runs_and_by_nothing_else() {
    let mut agent = installed();
    let path = agent.path("systemd");
    let systemd = UnixDatagram::bind(&path).unwrap();
    let signs = |count: usize, limit: Duration| {
        systemd.set_read_timeout(Some(limit)).unwrap();
        let mut output = [0; 4096];
        let mut messages = 0;
        while messages < count
            && let Ok(length) = systemd.recv(&mut output)
        {
            messages += usize::from(&output[..length] == b"WATCHDOG=1\n");
        }
        messages
    };
    // Only the daemon has the variable: the process of env becomes the daemon.
    let words = [format!("NOTIFY_SOCKET={}", path.display()), "WATCHDOG_USEC=300000".to_owned()];
    assert!(agent.start_under(&["env", &words[0], &words[1]]));
    assert_eq!(signs(5, TEST_TIMEOUT), 5);
    agent.signal(Signal::SIGSTOP);
    // The notification that the daemon sent before it stopped.
    signs(usize::MAX, Duration::from_millis(10));
    assert_eq!(
        signs(1, Duration::from_millis(900)),
        0,
        "a frozen daemon sends watchdog notifications"
    );
    agent.signal(Signal::SIGCONT);
    assert_eq!(signs(3, TEST_TIMEOUT), 3);
}

/// Waits until a process opens this pipe for reading; the read does not end while the writer is
/// kept.
async fn read_by_somebody(pipe: PathBuf) -> fs::File {
    let opening =
        tokio::task::spawn_blocking(|| fs::OpenOptions::new().write(true).open(pipe).unwrap());
    tokio::time::timeout(TEST_TIMEOUT, opening).await.expect("no process reads the pipe").unwrap()
}

#[tokio::test]
async fn a_reload_that_hangs_holds_neither_the_next_one_nor_the_stop() {
    let mut agent = installed();
    agent.start();
    let (file, original) = (agent.path("agent.toml"), agent.path("kept.toml"));
    let hang = |agent: &Agent| {
        fs::rename(&file, &original).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        agent.signal(Signal::SIGHUP);
        read_by_somebody(file.clone())
    };
    let mut first = hang(&agent).await;
    fs::rename(&original, &file).unwrap();
    agent.signal(Signal::SIGHUP);
    agent.until_logged("callers and signing secrets reloaded");
    // The daemon does not use the text that the first reload reads at last.
    first.write_all(b"nonsense = 1").unwrap();
    drop(first);

    let _hanging = hang(&agent).await;
    let (status, took) = agent.terminate();
    assert!(status.success() && took < Duration::from_secs(10), "{status} {took:?}");
    assert!(!agent.log().contains("reload failed; nothing changed"));
}

#[test]
fn without_a_daemon_a_command_says_where_it_looked() {
    let agent = installed();
    let listed = agent.cli(&["list"], "");
    assert_eq!(listed.status.code(), Some(1));
    let output = String::from_utf8_lossy(&listed.stderr);
    assert!(
        output.contains("agent.sock") && output.contains("check that the daemon runs"),
        "{output}"
    );
    assert_eq!(agent.cli(&["healthcheck"], "").status.code(), Some(1));
}
