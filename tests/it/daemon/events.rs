//! The events of all stores on the command line: followed across restarts, a removal and a restored
//! ledger, and waited for.

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::support::agent::{Agent, callback};
use crate::support::api_description::check_value;
use crate::support::filesystems::MountedFs;
use crate::support::management_node::ManagementNode;
use crate::support::requirements::{needs_root, run};
use crate::support::running_command::RunningCommand;
use crate::support::sshd::{Builder, User};
use crate::support::wait::until;

const CALM: &str = "[monitor]\ninterval = \"1h\"\n";

/// The events of a follower so far.
#[derive(Default)]
struct Followed {
    /// The newest number of each generation.
    newest: BTreeMap<String, u64>,
    updates: usize,
    gaps: Vec<Value>,
    kinds: Vec<String>,
}

impl Followed {
    /// Reads events until this kind, or this number of updates. Panics if a number is missing or
    /// repeated without a gap.
    fn read_until(&mut self, follower: &RunningCommand, is_end: impl Fn(&Self, &Value) -> bool) {
        let mut is_after_gap = false;
        loop {
            let event = follower.next_event();
            let (generation, id) = event["cursor"].as_str().unwrap().split_once('-').unwrap();
            let id: u64 = id.parse().unwrap();
            let kind = event["event"].as_str().unwrap().to_owned();
            let newest = self.newest.insert(generation.to_owned(), id);
            if kind == "gap" {
                check_value(&json!({"$ref": "#/components/schemas/EventGap"}), &event, "a gap");
                self.gaps.push(event.clone());
                is_after_gap = true;
            } else {
                check_value(
                    &json!({"$ref": "#/components/schemas/StoreEvent"}),
                    &event,
                    "an event",
                );
                assert!(
                    is_after_gap || newest.map_or(id == 1, |newest| id == newest + 1),
                    "{id} follows {newest:?}"
                );
                is_after_gap = false;
            }
            self.updates += usize::from(kind == "updated");
            self.kinds.push(kind);
            if is_end(self, &event) {
                return;
            }
        }
    }
}

/// Renames the store this number of times.
async fn rename(agent: &Agent, uuid: &str, numbers: std::ops::Range<u32>) {
    for n in numbers {
        let body = json!({"updateBackupStorage": {"name": format!("images {n}")}});
        let reply = agent.ask(Method::PUT, &format!("/{uuid}/actions"), Some(body)).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_repeats_nothing_and_misses_nothing_without_a_gap() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), CALM);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let follower =
        RunningCommand::start_until(&agent, &["events", "--follow", "--json"], Some("\"last\""));
    let mut seen = Followed::default();
    let until_updates = |count: usize| move |seen: &Followed, _: &Value| seen.updates == count;

    rename(&agent, &uuid, 0..700).await;
    seen.read_until(&follower, until_updates(700));
    let (status, took) = agent.terminate();
    assert!(status.success() && took < Duration::from_secs(3), "{status} after {took:?}");
    agent.start();
    rename(&agent, &uuid, 700..1400).await;
    agent.kill();
    agent.start();
    rename(&agent, &uuid, 1400..2000).await;
    seen.read_until(&follower, until_updates(2000));
    agent.terminate();
    let (state, copy) = (agent.path("state"), agent.path("copy"));
    run("cp", &["-a", state.to_str().unwrap(), copy.to_str().unwrap()]);
    agent.start();
    rename(&agent, &uuid, 2000..2050).await;
    seen.read_until(&follower, until_updates(2050));
    assert!(agent.cli(&["remove", &uuid, "--yes"], "").status.success());
    seen.read_until(&follower, |_, event| event["event"] == "removed");
    assert_eq!((seen.gaps.len(), seen.newest.len()), (0, 1), "{:?}", seen.gaps);

    // The store is there again, and the updates since the copy are gone.
    agent.terminate();
    std::fs::remove_dir_all(&state).unwrap();
    run("cp", &["-a", copy.to_str().unwrap(), state.to_str().unwrap()]);
    agent.start();
    rename(&agent, &uuid, 2050..2100).await;
    seen.read_until(&follower, until_updates(2100));
    assert_eq!((seen.gaps.len(), seen.newest.len()), (1, 2), "{:?}", seen.gaps);
    assert_eq!(seen.gaps[0]["cause"], "restored");
    assert_eq!(seen.kinds.iter().filter(|kind| *kind == "removed").count(), 1);
    // A reader without a cursor gets the gap of the restore too, in place of the removal.
    for store in [None, Some(uuid.as_str())] {
        let args = ["--since", "1h", "--kind", "removed", "--json"];
        let args: Vec<&str> = ["events"].into_iter().chain(store).chain(args).collect();
        let shown = text(agent.cli(&args, "").stdout);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((&shown["event"], &shown["cause"]), (&json!("gap"), &json!("restored")));
    }

    // Without a reader the command ends, although nothing happens.
    rename_to_last(&agent, &uuid).await;
    assert_eq!(follower.exit_code().await, Some(0));
}

/// Gives the store the name at which the reader of the test stops.
async fn rename_to_last(agent: &Agent, uuid: &str) {
    let body = json!({"updateBackupStorage": {"name": "last"}});
    let reply = agent.ask(Method::PUT, &format!("/{uuid}/actions"), Some(body)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn shown(output: Output) -> String {
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{stdout}");
    stdout
}

#[tokio::test]
async fn events_are_selected_and_shown_with_their_store_and_reason() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), CALM);
    let down = agent.cli(&["events"], "");
    assert_eq!(down.status.code(), Some(1));
    assert!(text(down.stderr).contains("cannot reach the daemon"));
    let down = agent.cli(&["events", "--follow"], "");
    assert_eq!(down.status.code(), Some(1));
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    until("the directory is unmounted", async || disk.try_unmount()).await;
    assert_eq!(agent.reconnect(&uuid).await.status, 503);

    let all = shown(agent.cli(&["events"], ""));
    assert!(all.lines().all(|line| line.contains("  images  ")), "{all}");
    assert!(all.contains("  added  ") && all.contains(" -> Disconnected: not_mounted: "), "{all}");
    let kinds = shown(agent.cli(&["events", "images", "--kind", "added,removed", "--json"], ""));
    let added: Value = serde_json::from_str(&kinds).unwrap();
    assert_eq!((&added["event"], &added["store"]), (&json!("added"), &json!(uuid)));
    let after = added["cursor"].as_str().unwrap();
    let rest = shown(agent.cli(&["events", &uuid[..6], "--after", after], ""));
    assert!(all.ends_with(&rest) && !rest.contains("  added  "), "{rest}");
    let first = shown(agent.cli(&["events", "--after", after, "--limit", "1"], ""));
    assert_eq!(Some(first.trim_end()), rest.lines().next());
    let last = shown(agent.cli(&["events", "--limit", "1"], ""));
    assert_eq!(Some(last.trim_end()), all.lines().last());
    assert_eq!(shown(agent.cli(&["events", "--since", "0s"], "")), "");
    let unknown = agent.cli(&["events", "no-such-store"], "");
    assert_eq!(unknown.status.code(), Some(1));
    for wrong in [
        &["events", "--kind", "nothing"][..],
        &["events", "--since", "2"],
        &["events", "--since", "2h", "--after", after],
        &["events", "--after", "7"],
        &["events", "--limit", "0"],
        &["wait", "images"],
        &["wait", "images", "--for", "Enabled"],
        &["wait", "images", "--for", "connected", "--timeout", "5"],
        &["wait", "images", "--for", "connected", "--timeout", "99999999999d"],
    ] {
        assert_eq!(agent.cli(wrong, "").status.code(), Some(2), "{wrong:?}");
    }
}

/// Reads pages with this selection until the last one. Returns their events.
async fn read_pages(agent: &Agent, selection: &str, mut after: Option<String>) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        let page = page(agent, selection, after.as_deref()).await;
        events.extend(page["events"].as_array().unwrap().iter().cloned());
        if page["more"] == false {
            return events;
        }
        after = Some(page["next"].as_str().unwrap().to_owned());
    }
}

async fn page(agent: &Agent, selection: &str, after: Option<&str>) -> Value {
    let after = after.map_or_else(String::new, |after| format!("&after={after}"));
    let path = format!("/imagestore/events?{selection}{after}");
    let reply = agent.http().send_request(Method::GET, &path, None).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.body
}

/// Returns the fields of these events.
fn of(events: &[Value], field: &str) -> Vec<String> {
    events.iter().map(|event| event[field].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_kind_have_each_event_once_also_if_a_store_is_removed_between_them() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let dirs = ["one", "two"].map(|name| disk.path().join(name));
    dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
    let mut agent = Agent::installed(&disk.path(), CALM);
    agent.start();
    let one = agent.add(&dirs[0], &sshd, &user).await;
    let two = agent.add(&dirs[1], &sshd, &user).await;
    for n in 0..40 {
        rename(&agent, &one, n..n + 1).await;
        rename(&agent, &two, n + 100..n + 101).await;
    }
    let selection = format!("store={one}&kind=updated&limit=7");
    let events = read_pages(&agent, &selection, None).await;
    assert_eq!(of(&events, "store"), vec![one.clone(); 40]);
    let cursors = of(&events, "cursor");
    let shown = shown(agent.cli(&["events", &one, "--kind", "updated", "--json"], ""));
    let lines: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(of(&lines, "cursor"), cursors);

    let selection = "kind=updated,removed&limit=7";
    let first = page(&agent, selection, None).await;
    let next = first["next"].as_str().unwrap().to_owned();
    let seen = of(first["events"].as_array().unwrap(), "cursor");
    assert_eq!((seen.len(), &first["gap"]), (7, &Value::Null));
    assert!(agent.cli(&["remove", &two, "--yes"], "").status.success());
    let rest = read_pages(&agent, selection, Some(next)).await;
    // The updates of the removed store are a gap, once, and its removal is there.
    let (gaps, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|e| e["event"] == "gap");
    let [gap] = &gaps[..] else { panic!("{gaps:?}") };
    assert_eq!(gap["cause"], "pruned");
    let (last, rest) = rest.split_last().unwrap();
    assert_eq!((&last["event"], &last["store"]), (&json!("removed"), &json!(two)));
    assert!(rest.iter().all(|event| event["store"] == one.as_str()), "{rest:?}");
    let unseen: Vec<_> = cursors.into_iter().filter(|cursor| !seen.contains(cursor)).collect();
    assert_eq!(of(rest, "cursor"), unseen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_is_waited_for_with_its_reason_and_across_a_restart() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let node = ManagementNode::answering([]).await;
    let more = format!("{}{CALM}", callback(&node.url()));
    let mut agent = Agent::installed(&disk.path(), &more);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let wait = |agent: &Agent, state: &str, limit: &str| {
        agent.cli(&["wait", "images", "--for", state, "--timeout", limit], "")
    };
    for state in ["connected", "delivered"] {
        assert_eq!(wait(&agent, state, "60s").status.code(), Some(0), "{state}");
    }
    let late = wait(&agent, "disconnected", "3s");
    assert_eq!(late.status.code(), Some(1));
    let reported = text(late.stderr);
    assert!(reported.contains("it is Connected") && reported.contains("after 3s"), "{reported}");

    let waiting = RunningCommand::start(&agent, &["wait", &uuid, "--for", "disconnected"]);
    agent.terminate();
    agent.start();
    until("the directory is unmounted", async || disk.try_unmount()).await;
    assert_eq!(agent.reconnect(&uuid).await.status, 503);
    assert_eq!(waiting.exit_code().await, Some(0));
    let late = wait(&agent, "connected", "3s");
    let reported = text(late.stderr);
    assert!(reported.contains("Disconnected: not_mounted"), "{reported}");

    let removed =
        agent.cli(&["wait", "00000000000040008000000000000009", "--for", "connected"], "");
    assert_eq!(removed.status.code(), Some(1));
}
