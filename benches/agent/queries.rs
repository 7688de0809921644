//! Compares a query over ten thousand stores with `jq` over the same JSON and with SQLite over the
//! same rows.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hyper::Method;
use rusqlite::{Connection, params};
use serde_json::Value;

use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::many_stores::{RARE_PROBES, fill_ledger};

const STORES: u128 = 10_000;
const ROUNDS: usize = 200;
/// Rounds of `jq`, which takes much longer.
const JQ_ROUNDS: usize = 11;
const LIST: &str = "/zstack/v1/backup-storage/image-store";
/// Two conditions, of which the first one holds for a third of the stores, and a sort.
const QUERY: &str = "q=name~=%257%25&q=sshPort=22&sort=-name&limit=100&replyWithCount=true";
const JQ_PROGRAM: &str = r#"[.inventories[] | select((.name | contains("7")) and .sshPort == 22)]
    | {total: length, inventories: (sort_by(.name) | reverse | .[:100])}"#;
const SQL: &str = "SELECT json FROM store WHERE name LIKE '%7%' AND sshPort = 22
    ORDER BY name COLLATE NOCASE DESC LIMIT 100";
const SQL_COUNT: &str = "SELECT count(*) FROM store WHERE name LIKE '%7%' AND sshPort = 22";

pub(crate) async fn query_beside_others() {
    let disk = MountedFs::of("ext4");
    let calm = format!("{RARE_PROBES}[callback]\nstart_spread = \"1m\"\n");
    let mut agent = Agent::installed(&disk.path(), &calm);
    fill_ledger(&agent, 1..=STORES).await;
    agent.start();
    let all = get(&agent, &format!("{LIST}?limit={STORES}")).await;
    let database = fill_database(&all);
    let path = format!("{LIST}?{QUERY}");
    let page = get(&agent, &path).await;
    let names = |inventories: &[Value]| -> Vec<Value> {
        inventories.iter().map(|inventory| inventory["name"].clone()).collect()
    };
    let expected = names(page["inventories"].as_array().unwrap());
    assert_eq!((names(&query_database(&database)), expected.len()), (expected, 100));
    let (mut of_agent, mut of_database) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        get(&agent, &path).await;
        of_agent.push(begun.elapsed());
        let begun = Instant::now();
        query_database(&database);
        of_database.push(begun.elapsed());
    }
    println!("query of {STORES} stores, two conditions and a sort: median, p99");
    print_row("agent, over HTTP", of_agent);
    print_row("SQLite in memory, rows as JSON", of_database);
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(file.as_file(), &all).unwrap();
    let mut of_jq = Vec::new();
    for _ in 0..JQ_ROUNDS {
        let begun = Instant::now();
        let mut jq = Command::new("jq");
        jq.args(["-c", JQ_PROGRAM]).arg(file.path()).stdin(Stdio::null());
        let Ok(output) = jq.output() else {
            println!("    jq: skipped, it is not installed (package jq)");
            return;
        };
        of_jq.push(begun.elapsed());
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found["total"], page["total"]);
    }
    print_row("jq, with its start", of_jq);
}

async fn get(agent: &Agent, path: &str) -> Value {
    let reply = agent.http().send_request(Method::GET, path, None).await.unwrap();
    assert!(reply.status.is_success(), "{}", reply.body);
    reply.body
}

fn fill_database(all: &Value) -> Connection {
    let database = Connection::open_in_memory().unwrap();
    database.execute_batch("CREATE TABLE store (name TEXT, sshPort INTEGER, json TEXT)").unwrap();
    let transaction = database.unchecked_transaction().unwrap();
    for store in all["inventories"].as_array().unwrap() {
        let row = params![store["name"].as_str(), store["sshPort"].as_i64(), store.to_string()];
        transaction.execute("INSERT INTO store VALUES (?1, ?2, ?3)", row).unwrap();
    }
    transaction.commit().unwrap();
    database
}

/// Counts the matching rows, and reads and parses a page of them, as a client of the agent does.
fn query_database(database: &Connection) -> Vec<Value> {
    let mut count = database.prepare_cached(SQL_COUNT).unwrap();
    let total: i64 = count.query_row([], |row| row.get(0)).unwrap();
    assert!(total > 0);
    let mut select = database.prepare_cached(SQL).unwrap();
    let rows = select.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(|json| serde_json::from_str(&json.unwrap()).unwrap()).collect()
}

fn print_row(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let (median, high) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("    {name:<32} {median:>10.1?} {high:>10.1?}");
}
