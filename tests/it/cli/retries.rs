//! Commands that wait for a daemon: an answer that may pass is reported, and the request repeated.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::agent::PROGRAM;
use crate::support::scripted_daemon::ScriptedDaemon;

const UUID: &str = "4cd9fb914f5f4a1d8d2f000000000001";

/// Runs a command with these responses. The last one is repeated.
fn run(args: &[&str], responses: &[(u16, &str, &Value)]) -> (Output, String) {
    let daemon = ScriptedDaemon::answering_in_turn(responses);
    let mut command = Command::new(PROGRAM);
    command.args(args).args(["--url", &daemon.url]).stdin(Stdio::null());
    command.env("IMAGESTORE_AGENT_CONFIG", "").env_remove("RUST_LOG");
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    (output, stderr)
}

fn failure(details: &str) -> Value {
    json!({"error": {"code": "SYS.1000", "description": "d", "details": details}})
}

#[test]
fn a_follower_reports_a_refusal_of_its_stream_once_and_tries_again() {
    let next = "00000000000000000000000000000001-7";
    let page = json!({"events": [], "gap": null, "more": false, "next": next});
    let (busy, slow) = (failure("too many streams are open"), failure("too many requests"));
    let last = failure("the cursor is wrong");
    let responses = [
        (200, "", &page),
        (503, "", &busy),
        (503, "", &busy),
        (429, "", &slow),
        (503, "", &busy),
        (400, "", &last),
    ];
    let (output, stderr) = run(&["events", "--follow"], &responses);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 4, "{stderr}");
    for (line, status, details) in [
        (lines[0], "503", "too many streams are open; trying again"),
        (lines[1], "429", "too many requests; trying again"),
        (lines[2], "503", "too many streams are open; trying again"),
        (lines[3], "SYS.1000", "the cursor is wrong"),
    ] {
        assert!(line.contains(status) && line.ends_with(details), "{line}");
    }
}

#[test]
fn a_wait_goes_on_while_the_name_of_the_store_cannot_be_resolved() {
    let busy = failure("the daemon is busy");
    let list = json!({"inventories": [{"uuid": UUID, "name": "images"}]});
    let health = json!({"inventory": {"uuid": UUID, "status": "Connected"}});
    let command = ["wait", "images", "--for", "connected", "--timeout", "1m"];
    let responses = [
        (503, "", &busy),
        (429, "", &busy),
        (200, "", &list),
        (500, "", &busy),
        (200, "", &health),
    ];
    let (output, stderr) = run(&command, &responses);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let statuses: Vec<_> = stderr.lines().map(|line| line.contains("the daemon is busy")).collect();
    assert_eq!(statuses, [true; 3], "{stderr}");

    // These answers do not pass.
    for (list, status) in [(json!({"inventories": []}), 200), (busy, 403)] {
        let (output, stderr) = run(&command, &[(status, "", &list)]);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(!stderr.contains("waiting"), "{stderr}");
    }
}

#[test]
fn a_watched_list_that_cannot_be_read_is_reported_once_although_its_stream_opens() {
    let (busy, last) = (failure("the daemon is busy"), failure("no right"));
    let nothing = json!(null);
    let stream = (200, "Content-Type: text/event-stream\r\n", &nothing);
    let refused = (503, "", &busy);
    let responses = [stream, refused, stream, refused, stream, (403, "", &last)];
    let (output, stderr) = run(&["list", "--watch"], &responses);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{stderr}");
    assert!(lines[0].ends_with("the daemon is busy; trying again"), "{stderr}");
    assert!(lines[1].ends_with("no right"), "{stderr}");
}

#[test]
fn a_stream_that_gives_nothing_is_a_failure_and_each_short_one_is_opened_later() {
    let next = "00000000000000000000000000000001-7";
    let page = json!({"events": [], "gap": null, "more": false, "next": next});
    let list = json!({"inventories": []});
    let last = failure("the cursor is wrong");
    for (stream, problem) in [
        (json!(null), Some("ended before it had a position; trying again")),
        (json!("id: x\n\n"), Some("has a block that cannot be read; trying again")),
        (json!(format!("id: {next}\n\n")), None),
    ] {
        let stream = (200, "Content-Type: text/event-stream\r\n", &stream);
        let (page, list, last) = ((200, "", &page), (200, "", &list), (400, "", &last));
        let follower = [page, stream, stream, stream, last];
        let watcher = [stream, list, stream, list, stream, list, last];
        for (args, responses) in
            [(["events", "--follow"], &follower[..]), (["list", "--watch"], &watcher)]
        {
            let began = Instant::now();
            let (output, stderr) = run(&args, responses);
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            // The delays are 200 ms, 400 ms and 800 ms.
            assert!(began.elapsed() >= Duration::from_millis(1400), "{:?}", began.elapsed());
            let lines: Vec<&str> = stderr.lines().collect();
            assert_eq!(lines.len(), 1 + usize::from(problem.is_some()), "{args:?}: {stderr}");
            assert!(lines[0].ends_with(problem.unwrap_or("the cursor is wrong")), "{stderr}");
        }
    }
}

#[test]
fn the_next_request_waits_for_the_time_that_the_daemon_asks_for() {
    let next = "00000000000000000000000000000001-7";
    let page = json!({"events": [], "gap": null, "more": false, "next": next});
    let (busy, last) = (failure("the daemon is busy"), failure("the cursor is wrong"));
    let list = json!({"inventories": [{"uuid": UUID, "name": "images"}]});
    let health = json!({"inventory": {"uuid": UUID, "status": "Connected"}});
    let busy = (503, "Retry-After: 2\r\n", &busy);
    let nothing = json!(null);
    let stream = (200, "Content-Type: text/event-stream\r\n", &nothing);
    let follower = [(200, "", &page), busy, (400, "", &last)];
    let waiter = [busy, (200, "", &list), (200, "", &health)];
    let watcher = [stream, busy, (400, "", &last)];
    for (args, responses, code) in [
        (&["events", "--follow"][..], follower, 1),
        (&["wait", "images", "--for", "connected"], waiter, 0),
        (&["list", "--watch"], watcher, 1),
    ] {
        let began = Instant::now();
        let (output, stderr) = run(args, &responses);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains("the daemon is busy"), "{stderr}");
        // Without the header, the next request is sent after 250 ms.
        assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

#[test]
fn a_wait_looks_at_least_once_and_ends_with_the_last_state() {
    let wait = ["wait", UUID, "--for", "connected", "--timeout", "0s"];
    let health = |status: &str| json!({"inventory": {"uuid": UUID, "status": status}});
    let busy = failure("the daemon is busy");
    for (status, body, code, last) in [
        (200, health("Connected"), 0, ""),
        (200, health("Connecting"), 1, "the store is not Connected: it is Connecting"),
        (503, busy, 1, "the daemon is busy"),
    ] {
        let (output, stderr) = run(&wait, &[(status, "", &body)]);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        let line = stderr.lines().last().unwrap_or_default();
        assert!(line.ends_with(last), "{stderr}");
        let is_unknown = line.starts_with("the state of the store is not known: the daemon at ");
        assert_eq!(is_unknown, status == 503, "{stderr}");
    }
}

#[test]
fn a_wait_for_a_daemon_that_does_not_respond_says_that_the_state_is_not_known() {
    // The kernel accepts the connections.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    for (timeout, after, limit) in [("0s", "", "2s"), ("3s", " after 3s", "3s")] {
        let mut command = Command::new(PROGRAM);
        command.args(["wait", UUID, "--for", "connected", "--timeout", timeout]);
        command.args(["--url", &format!("http://{address}")]).stdin(Stdio::null());
        let output = command.env("IMAGESTORE_AGENT_CONFIG", "").output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let expected = format!(
            "the state of the store is not known{after}: the daemon at {address} did not respond \
             within {limit}"
        );
        assert_eq!(stderr.lines().last(), Some(expected.as_str()));
    }
}

#[test]
fn a_lost_connection_of_one_of_several_reconnects_has_its_own_line() {
    let list = json!({"inventories": [{"uuid": UUID, "name": "images"}]});
    let nothing = json!({});
    let (output, stderr) =
        run(&["reconnect", "--all"], &[(200, "", &list), (200, "no header\r\n", &nothing)]);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    let [store, failure, count] = lines[..] else { panic!("{stderr}") };
    assert_eq!(store, format!("{UUID}  images"));
    assert!(failure.starts_with("the connection to the daemon at 127.0.0.1"), "{stderr}");
    assert_eq!(count, "1 of 1 stores are not connected");
}
