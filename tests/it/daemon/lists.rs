//! The list of stores: for a script, and as it changes.

use hyper::Method;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::requirements::needs_root;
use crate::support::running_command::RunningCommand;
use crate::support::sshd::{Builder, User};
use crate::support::wait::until;

const CALM: &str = "[monitor]\ninterval = \"1h\"\nauto_reconnect = false\n";

async fn rename(agent: &Agent, uuid: &str, name: &str) {
    let body = json!({"updateBackupStorage": { "name": name }});
    let reply = agent.ask(Method::PUT, &format!("/{uuid}/actions"), Some(body)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
}

fn listed(agent: &Agent, args: &[&str]) -> String {
    let output = agent.cli(&[&["list"], args].concat(), "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_script_gets_the_columns_that_it_names_and_a_person_lines_that_line_up() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let dirs = ["one", "two"].map(|name| disk.path().join(name));
    dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
    let mut agent = Agent::installed(&disk.path(), CALM);
    agent.start();
    let one = agent.add(&dirs[0], &sshd, &user).await;
    let two = agent.add(&dirs[1], &sshd, &user).await;
    rename(&agent, &one, "镜像\\服务器").await;
    let rows = listed(&agent, &["-H"]);
    let row = rows.lines().find(|row| row.starts_with(&one)).unwrap();
    let cells: Vec<&str> = row.split('\t').collect();
    assert_eq!(cells.len(), 6, "{rows}");
    assert_eq!((cells[1], cells[3], cells[4]), ("Connected", "4194304", "镜像\\\\服务器"));
    assert!(cells[2].parse::<u64>().is_ok() && cells[5].ends_with("/one"), "{rows}");
    let chosen = listed(&agent, &["-H", "--columns", "name,port,uuid"]);
    assert!(chosen.contains(&format!("images\t{}\t{two}\n", sshd.address.port())), "{chosen}");

    let table = listed(&agent, &["--columns", "name,status"]);
    let mut lines: Vec<&str> = table.lines().collect();
    lines.sort_unstable();
    // Each ideograph takes up two columns.
    let expected = ["NAME         STATUS", "images       Connected", "镜像\\服务器  Connected"];
    assert_eq!(lines, expected);

    let wrong = agent.cli(&["list", "--columns", "name,colour"], "");
    let stderr = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("colour") && stderr.contains("available"), "{stderr}");
    for wrong in [&["-H", "--json"][..], &["--columns", "name", "--brief"], &["--columns", ""]] {
        assert_eq!(agent.cli(&[&["list"], wrong].concat(), "").status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_list_has_a_line_for_each_change_and_ends_with_ctrl_c() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), CALM);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let columns = ["list", "--watch", "--columns", "status,name"];
    let plain = RunningCommand::start(&agent, &columns);
    assert_eq!(plain.next_line(), "STATUS     NAME");
    assert_eq!(plain.next_line(), "Connected  images");
    let brief = RunningCommand::start(&agent, &["list", "--watch", "--brief"]);
    assert!(brief.next_line().starts_with("images  "));
    let script = RunningCommand::start(&agent, &["list", "-wH", "--columns", "status,name"]);
    assert_eq!(script.next_line(), "Connected\timages");
    let json = RunningCommand::start(&agent, &["list", "--watch", "--json"]);
    assert_eq!(json.next_event()["inventory"]["uuid"], uuid);

    rename(&agent, &uuid, "other").await;
    assert_eq!(plain.next_line(), "Connected  other");
    assert_eq!(script.next_line(), "Connected\tother");
    assert!(brief.next_line().starts_with("other "));
    assert_eq!(json.next_event()["inventory"]["name"], "other");

    // The changes while the daemon is away are shown when it is back.
    agent.terminate();
    until("the directory is unmounted", async || disk.try_unmount()).await;
    agent.start();
    assert_eq!(agent.reconnect(&uuid).await.status, 503);
    plain.until_line("Disconnected  other");
    script.until_line("Disconnected\tother");
    assert!(brief.until_line("Disconnected").contains("not_mounted"));
    assert!(agent.cli(&["remove", &uuid, "--yes"], "").status.success());
    plain.until_line("Removed       other");
    script.until_line("Removed\tother");
    json.until_line("Removed");
    brief.until_line("Removed");
    for command in [plain, brief, script, json] {
        command.signal(Signal::SIGINT);
        assert_eq!(command.exit_code().await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_shows_the_whole_list_anew_at_each_change() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), CALM);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let watch = RunningCommand::start_on_terminal(&agent, &["list", "--watch"]);
    for name in ["images", "镜像"] {
        if name != "images" {
            rename(&agent, &uuid, name).await;
        }
        let header = watch.until_line("NAME");
        assert!(header.starts_with("\u{1b}[H\u{1b}[2J") && header.contains("UUID"), "{header:?}");
        let row = watch.next_line();
        assert!(row.contains(name) && row.contains("Connected"), "{row}");
    }
}
