//! Access keys of the daemon as a process: the file, its reload, and the clock of the system.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use jiff::Timestamp;
use jiff::fmt::strtime;
use nix::sys::signal::Signal;

use crate::http::access_keys::signed_headers;
use crate::support::agent::Agent;
use crate::support::secret_files::{set_mode, write_secret};

const LIST: &str = "/v1/backup-storage/image-store";
const KEY: (&str, &str) = ("AKIDxxxxxxxxxxxxxxxx", "WbRgM5AZpL0jUnS2cQ7xVtKe1HyDf9oNu3rTqX6i");

fn installed(keys: &str) -> Agent {
    let agent = Agent::installed(Path::new("/var/lib/imagestore"), "");
    write_secret(agent.path("access-keys"), keys);
    let setting = format!("[auth]\naccess_keys_file = {:?}\n", agent.path("access-keys"));
    agent.configure(&agent.settings().replace("[auth]\n", &setting));
    agent
}

/// Sends a signed request and returns the status and the response.
fn ask(agent: &Agent, key: (&str, &str), date: &str) -> (u16, String) {
    let headers = signed_headers(key, "GET", date, LIST);
    let mut stream = TcpStream::connect(agent.address()).unwrap();
    // As the Go SDK sends it.
    let request = format!(
        "GET /zstack{LIST} HTTP/1.1\r\nHost: 127.0.0.1:7811\r\nUser-Agent: zstack-sdk-go/202206\r\n\
         Accept: */*\r\nAccept-Encoding: *\r\n{headers}\
         Content-Type: application/json; charset=utf-8\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    (response[9..12].parse().unwrap(), response)
}

/// The current time in a zone that is `seconds` east of Greenwich.
fn date(seconds: i64, zone: &str) -> String {
    let local = Timestamp::now().as_second() + seconds;
    let local = Timestamp::from_second(local).unwrap();
    let civil = strtime::format("%a, %d %b %Y %H:%M:%S", local).unwrap();
    format!("{civil} {zone}")
}

#[test]
fn a_key_of_the_file_works_until_a_reload_removes_it() {
    let mut agent = installed(&format!("go:{}:{}:read\n", KEY.0, KEY.1));
    agent.start();
    for (seconds, zone) in [
        (0, "UTC"),
        (0, "Etc/UTC"),
        (8 * 3600, "Asia/Shanghai"),
        (8 * 3600, "CST"),
        (8 * 3600, "GMT+08:00"),
        (-3 * 3600, "-03"),
        (7 * 3600, "+07"),
    ] {
        let (status, response) = ask(&agent, KEY, &date(seconds, zone));
        assert_eq!(status, 200, "{zone}: {response}");
    }
    let (status, response) = ask(&agent, KEY, &date(-1800, "UTC"));
    assert!(status == 403 && response.contains("requestTimeTooSkewed"), "{response}");
    let (status, response) = ask(&agent, (KEY.0, "another"), &date(0, "UTC"));
    assert!(status == 401 && response.contains("wrong accessKey signature"), "{response}");

    // A file with a fault changes nothing, and its secrets stay out of the log.
    fs::write(agent.path("access-keys"), format!("go:{}:{}:root\n", KEY.0, KEY.1)).unwrap();
    agent.signal(Signal::SIGHUP);
    let line = agent.until_logged("reload failed; nothing changed");
    assert!(line.contains("auth.access_keys_file") && line.contains("line 1"), "{line}");
    assert_eq!(ask(&agent, KEY, &date(0, "UTC")).0, 200);

    fs::write(agent.path("access-keys"), "").unwrap();
    agent.signal(Signal::SIGHUP);
    agent.until_logged("callers and signing secrets reloaded");
    let (status, response) = ask(&agent, KEY, &date(0, "UTC"));
    assert!(status == 401 && response.contains("the access key id is unknown"), "{response}");
    assert!(!agent.log().contains(KEY.1));
}

#[test]
fn the_zone_of_the_daemon_gives_its_abbreviations_their_meaning() {
    let mut agent = installed(&format!("go:{}:{}\n", KEY.0, KEY.1));
    assert!(agent.start_under(&["env", "TZ=XYZ-5:45"]));
    let (status, response) = ask(&agent, KEY, &date(5 * 3600 + 45 * 60, "XYZ"));
    assert_eq!(status, 200, "{response}");
}

#[test]
fn a_doubtful_file_is_warned_of_and_an_unsafe_one_refused() {
    let mut agent = installed(&format!("go:{}:hunter2\n", KEY.0));
    let exposed = "listen = [\"127.0.0.1:0\", \"0.0.0.0:0\"]\ninsecure_http = true";
    let one = "listen = [\"127.0.0.1:0\"]";
    assert_eq!(agent.settings().matches(one).count(), 1);
    agent.configure(&agent.settings().replace(one, exposed));
    let checked = agent.cli(&["check-config"], "");
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{text}");
    let guessed = format!("the secret of the key {} has less than 20 characters", KEY.0);
    let unsigned = "a signature covers neither the body nor the query";
    for part in [&guessed, unsigned] {
        assert!(text.contains(part), "{text}");
    }
    agent.start();
    let log = agent.log();
    for part in [&guessed, unsigned] {
        assert!(log.contains(part), "{log}");
    }
    assert!(!text.contains("hunter2") && !log.contains("hunter2"));
    agent.terminate();

    set_mode(agent.path("access-keys"), 0o644);
    let refused = agent.cli(&["check-config"], "");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(64) && text.contains("auth.access_keys_file"), "{text}");
}
