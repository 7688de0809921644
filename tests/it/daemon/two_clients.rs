//! Two clients that change one store at the same time, while SIGKILL ends the daemon at random
//! moments. Each makes one call after the other, as a job of ZStack's SDKs or as a synchronous
//! call. There must be one order of all calls that explains every answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use imagestore_agent::model::StoreUuid;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::jobs::{poll, result};
use crate::support::agent::{Agent, TEST_TIMEOUT, TOKEN, store};
use crate::support::filesystems::MountedFs;
use crate::support::http_server::{HttpRequest, HttpResponse, try_exchange};
use crate::support::requirements::needs_root;
use crate::support::seeded_rng::SeededRng;
use crate::support::sshd::{Builder, Sshd, User};
use crate::support::store_order::{Call, CallAnswer, CallRecord, Refusal, SeenStore, check_order};

const STORE: StoreUuid = StoreUuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_00aa);
/// Maximum number of calls that succeed between two kills.
const CALLS_PER_RUN: u64 = 30;
/// Maximum delay of a kill after the last of them. A commit takes milliseconds, and an
/// attempt some tens of them.
const KILL_DELAY: Duration = Duration::from_millis(40);

/// Returns the number of calls that succeed; the variable sets a larger one.
fn calls() -> usize {
    let set = std::env::var("RANDOM_CALLS").ok();
    set.map_or(800, |set| set.parse().expect("RANDOM_CALLS is no number"))
}

/// The parts of all calls that are the same.
struct Target {
    dir: PathBuf,
    sshd: Sshd,
    user: User,
}

impl Target {
    /// Returns the request line and the body of a call.
    fn request(&self, call: &Call) -> (String, Value) {
        let base = "/zstack/v1/backup-storage";
        let action = |body| (format!("PUT {base}/image-store/{STORE}/actions"), body);
        let zone = |method, zone| {
            (format!("{method} /zstack/v1/zones/{zone}/backup-storage/{STORE}"), Value::Null)
        };
        match call {
            Call::Add(name) => {
                let mut body = store(&self.dir, &self.sshd, &self.user);
                body["params"]["name"] = json!(name);
                body["params"]["resourceUuid"] = json!(STORE.to_string());
                (format!("POST {base}/image-store"), body)
            }
            Call::Read => (format!("GET {base}/image-store/{STORE}"), Value::Null),
            Call::Reconnect => action(json!({"reconnectImageStoreBackupStorage": {}})),
            Call::Rename(name) => action(json!({"updateImageStoreBackupStorage": {"name": name}})),
            Call::Switch(state) => {
                let event = if *state == "Enabled" { "enable" } else { "disable" };
                let body = json!({"changeBackupStorageState": {"stateEvent": event}});
                (format!("PUT {base}/{STORE}/actions"), body)
            }
            Call::Attach(attached) => zone("POST", attached),
            Call::Detach(detached) => zone("DELETE", detached),
            Call::Remove => (format!("DELETE {base}/{STORE}"), Value::Null),
        }
    }
}

/// Draws a call. `is_gone` is true if there was no store at the last call, and most calls would
/// then fail.
fn draw_call(chance: &mut SeededRng, is_gone: bool) -> Call {
    let number = chance.number_below(1000);
    let zone = format!("c0a801010000400080000000000000{:02x}", number % 3);
    match chance.number_below(40) {
        _ if is_gone => Call::Add(format!("added {number}")),
        0 => Call::Add(format!("added {number}")),
        1..=2 => Call::Remove,
        3..=4 => Call::Reconnect,
        5..=13 => Call::Rename(format!("renamed {number}")),
        14..=18 => Call::Switch("Enabled"),
        19..=23 => Call::Switch("Disabled"),
        24..=29 => Call::Attach(zone),
        30..=34 => Call::Detach(zone),
        _ => Call::Read,
    }
}

/// Returns the answer in a response, or `None` if it refers to a job.
fn read_answer(call: &Call, response: &HttpResponse) -> Option<CallAnswer> {
    if response.status == 202 {
        return None;
    }
    if response.status == 200 {
        let inventory = match call {
            Call::Read => response.body["inventories"].get(0),
            _ => response.body.get("inventory"),
        };
        return Some(CallAnswer::Done(inventory.map(|inventory| {
            let text = |field: &str| inventory[field].as_str().unwrap().to_owned();
            let zones = inventory["attachedZoneUuids"].as_array().unwrap().iter();
            SeenStore {
                name: text("name"),
                state: text("state"),
                zones: zones.map(|zone| zone.as_str().unwrap().to_owned()).collect(),
            }
        })));
    }
    assert!([400, 404, 503].contains(&response.status), "{call:?}: {response:?}");
    let reason = ["/opaque/reason", "/cause/opaque/reason"];
    let mut reasons = reason.iter().filter_map(|pointer| response.error(pointer).as_str());
    Some(match (response.error("/code").as_str(), reasons.next()) {
        (Some("SYS.1003"), _) => CallAnswer::Refused(Refusal::Gone),
        (_, Some("duplicate_uuid" | "duplicate_directory")) => CallAnswer::Refused(Refusal::Exists),
        (_, Some("zone_attached")) => CallAnswer::Refused(Refusal::Attached),
        (_, Some("zone_not_attached")) => CallAnswer::Refused(Refusal::NotAttached),
        (_, Some("interrupted_by_restart" | "agent_busy")) => CallAnswer::NoEffect,
        _ => panic!("{call:?}: {response:?}"),
    })
}

/// A call that had no answer when the daemon died.
struct LostCall {
    call: Call,
    begin: Instant,
    /// The id of its job, if it was one.
    job: Option<String>,
    /// True if the daemon has referred the client to the job.
    is_accepted: bool,
}

/// Returns a request in bytes. The connection ends after the answer.
fn request_bytes(line: &str, job: Option<&str>, body: &Value) -> Vec<u8> {
    let job = job.map_or_else(String::new, |job| format!("X-Job-UUID: {job}\r\n"));
    let headers = format!("Connection: close\r\n{job}");
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let token = Some(TOKEN).filter(|_| !line.contains("api-jobs"));
    HttpRequest { token, headers: &headers, ..HttpRequest::new(line, &text) }.bytes()
}

async fn ask(address: std::net::SocketAddr, request: &[u8]) -> Option<HttpResponse> {
    let stream = TcpStream::connect(address).await.ok()?;
    timeout(TEST_TIMEOUT, try_exchange(stream, request)).await.expect("no answer")
}

/// A client, which makes one call after the other until the daemon is gone.
struct Client {
    chance: SeededRng,
    target: Arc<Target>,
    /// The calls since the last start of the daemon.
    records: Vec<CallRecord>,
    next_job: u128,
}

impl Client {
    async fn call_until_killed(
        mut self,
        address: std::net::SocketAddr,
        succeeded: Arc<Semaphore>,
    ) -> (Self, LostCall) {
        let mut is_gone = false;
        loop {
            let call = draw_call(&mut self.chance, is_gone);
            let is_job = self.chance.one_in(2) && !matches!(call, Call::Read);
            self.next_job += 1;
            let job = is_job.then(|| StoreUuid::from_u128(self.next_job).to_string());
            let begin = Instant::now();
            let (line, body) = self.target.request(&call);
            let mut response = ask(address, &request_bytes(&line, job.as_deref(), &body)).await;
            let mut is_accepted = false;
            while let (Some(job), Some(HttpResponse { status: 202, .. })) = (&job, &response) {
                is_accepted = true;
                let line = format!("GET /zstack/v1/api-jobs/{job}");
                response = ask(address, &request_bytes(&line, None, &Value::Null)).await;
            }
            let Some(response) = response else {
                return (self, LostCall { call, begin, job, is_accepted });
            };
            let answer = read_answer(&call, &response).expect("202 without a job");
            is_gone = matches!(answer, CallAnswer::Refused(Refusal::Gone) | CallAnswer::Done(None));
            succeeded.add_permits(usize::from(matches!(answer, CallAnswer::Done(_))));
            self.records.push(CallRecord { call, answer, begin, end: Instant::now() });
        }
    }
}

impl LostCall {
    /// Returns the record of the call after the daemon was killed and has restarted.
    async fn resolve(self, agent: &Agent, killed: Instant) -> CallRecord {
        let answer = match &self.job {
            None => CallAnswer::Lost,
            Some(job) => {
                let is_unknown = poll(agent, job).await.status == 404;
                assert!(!is_unknown || !self.is_accepted, "an accepted job is lost");
                match is_unknown {
                    // It was never recorded, and so never began.
                    true => CallAnswer::NoEffect,
                    false => read_answer(&self.call, &result(agent, job).await).unwrap(),
                }
            }
        };
        CallRecord { call: self.call, answer, begin: self.begin, end: killed }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answers_of_two_clients_have_one_order_whenever_the_daemon_dies() {
    needs_root!();
    let mut chance = SeededRng::from_env("RANDOM_CALLS_SEED");
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let settings = "[monitor]\ninterval = \"1h\"\n[api]\nanswer_within = \"1s\"\n";
    let mut agent = Agent::installed(&disk.path(), settings);
    agent.start();
    let target = Arc::new(Target { dir: disk.path(), sshd, user });
    let mut clients: [Client; 2] = [1, 2].map(|number| Client {
        chance: chance.another(),
        target: Arc::clone(&target),
        records: Vec::new(),
        next_job: number << 64,
    });
    let (mut states, mut kinds, mut kills) = (BTreeSet::from([None]), BTreeMap::new(), 0);
    while kinds.get("done").is_none_or(|done| *done < calls()) {
        let succeeded = Arc::new(Semaphore::new(0));
        let mut running = JoinSet::new();
        for (number, client) in clients.into_iter().enumerate() {
            let run = client.call_until_killed(agent.address(), Arc::clone(&succeeded));
            running.spawn(async move { (number, run.await) });
        }
        let successes = u32::try_from(1 + chance.number_below(CALLS_PER_RUN)).unwrap();
        let enough = timeout(TEST_TIMEOUT, succeeded.acquire_many(successes)).await;
        enough.expect("no call succeeds").unwrap().forget();
        sleep(chance.below(KILL_DELAY)).await;
        agent.kill();
        let killed = Instant::now();
        kills += 1;
        agent.start();
        let mut ended = running.join_all().await;
        ended.sort_by_key(|(number, _)| *number);
        let mut after = Vec::new();
        for (_, (mut client, lost)) in ended {
            client.records.push(lost.resolve(&agent, killed).await);
            after.push(client);
        }
        clients = after.try_into().ok().unwrap();
        // The state after the restart is part of the order.
        let (call, begin) = (Call::Read, Instant::now());
        let (line, body) = target.request(&call);
        let response = ask(agent.address(), &request_bytes(&line, None, &body)).await.unwrap();
        let answer = read_answer(&call, &response).unwrap();
        clients[0].records.push(CallRecord { call, answer, begin, end: Instant::now() });
        let records = clients.each_mut().map(|client| std::mem::take(&mut client.records));
        states = match check_order(&states, &records) {
            Ok(after) => after,
            Err(stuck) => {
                panic!("no order of the calls explains the answers before kill {kills}:\n{stuck}")
            }
        };
        for record in records.iter().flatten() {
            let kind = match &record.answer {
                CallAnswer::Done(_) => "done".to_owned(),
                CallAnswer::Refused(refusal) => format!("{refusal:?}"),
                CallAnswer::NoEffect => "no effect".to_owned(),
                CallAnswer::Lost => "lost".to_owned(),
            };
            *kinds.entry(kind).or_insert(0) += 1;
        }
    }
    println!("{kills} kills, calls by their answers: {kinds:?}");
    for kind in ["Gone", "Exists", "Attached", "NotAttached", "lost", "no effect"] {
        assert!(kinds.contains_key(kind), "no call had this answer: {kind}");
    }
}
