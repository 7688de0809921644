//! Measures the work about all stores by their number. The time per store must stay the same.

use std::time::{Duration, Instant};

use hyper::Method;
use tokio::task::JoinSet;

use crate::figures::spread;
use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::fixtures::uuid;
use crate::support::many_stores::{RARE_PROBES, fill_ledger};
use crate::support::sshd::{Sshd, User};

const COUNTS: [u32; 4] = [100, 1000, 2000, 10_000];
const READERS: usize = 8;
const ROUNDS: usize = 15;

/// The times with one number of stores.
struct GrowthRow {
    count: u32,
    ready: Duration,
    summary: Duration,
    list: Duration,
    health: Duration,
    add: Duration,
    liveness: (Duration, Duration),
}

/// Measures a start, the requests about all stores, and an add, beside more and more stores on one
/// filesystem.
pub(crate) async fn by_the_number_of_stores(sshd: &Sshd, user: &User) {
    let mut rows = Vec::new();
    for count in COUNTS {
        rows.push(measure(count, sshd, user).await);
    }
    println!("work about all stores, on one filesystem; goal: the same time per store");
    println!("    stores       ready     summary        list   health     add");
    for row in &rows {
        let GrowthRow { count, ready, summary, list, health, add, .. } = row;
        println!(
            "    {count:>6}  {ready:>10.1?}  {summary:>10.1?}  {list:>10.1?}  {health:.1?}  {add:.1?}"
        );
        println!(
            "    a store {:>10.1?}  {:>10.1?}  {:>10.1?}",
            *ready / *count,
            *summary / *count,
            *list / *count
        );
    }
    println!("/healthz beside {READERS} readers of the summary: median, highest");
    for GrowthRow { count, liveness: (median, high), .. } in &rows {
        println!("    {count:>6} stores: {median:.1?}, {high:.1?}");
    }
    let [_, from, _, to] = rows.as_slice() else { return };
    let ratio = |time: fn(&GrowthRow) -> Duration| {
        let each = |row: &GrowthRow| time(row).as_secs_f64() / f64::from(row.count);
        each(to) / each(from)
    };
    println!(
        "    a store of {} beside one of {}: summary {:.2}, list {:.2}; goal below 1.5",
        to.count,
        from.count,
        ratio(|row| row.summary),
        ratio(|row| row.list),
    );
}

async fn measure(count: u32, sshd: &Sshd, user: &User) -> GrowthRow {
    let disk = MountedFs::of("ext4");
    let calm = format!("{RARE_PROBES}[callback]\nstart_spread = \"1m\"\n");
    let mut agent = Agent::installed(&disk.path(), &calm);
    fill_ledger(&agent, 1..=u128::from(count)).await;
    let mut ready = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        agent.start();
        ready.push(begun.elapsed());
        agent.terminate();
    }
    agent.start();
    let health = format!("/imagestore/stores/{}/health", uuid(1));
    let mut adds = Vec::new();
    for number in 0..ROUNDS {
        let dir = disk.path().join(number.to_string());
        std::fs::create_dir(&dir).unwrap();
        let begun = Instant::now();
        agent.add(&dir, sshd, user).await;
        adds.push(begun.elapsed());
    }
    GrowthRow {
        count,
        ready: spread(ready).1,
        summary: median_of(&agent, "/imagestore/stores").await,
        list: median_of(&agent, "/zstack/v1/backup-storage/image-store?limit=10000").await,
        health: median_of(&agent, &health).await,
        add: spread(adds).1,
        liveness: liveness_beside_readers(&agent).await,
    }
}

async fn get(agent: &Agent, path: &str) -> Duration {
    let begun = Instant::now();
    let reply = agent.http().send_request(Method::GET, path, None).await.unwrap();
    assert!(reply.status.is_success(), "{}", reply.body);
    begun.elapsed()
}

async fn median_of(agent: &Agent, path: &str) -> Duration {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(get(agent, path).await);
    }
    spread(times).1
}

/// Returns the median and the highest time of `/healthz` beside the readers.
async fn liveness_beside_readers(agent: &Agent) -> (Duration, Duration) {
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let http = agent.http();
        readers.spawn(async move {
            loop {
                http.send_request(Method::GET, "/imagestore/stores", None).await.unwrap();
            }
        });
    }
    let mut times = Vec::new();
    for _ in 0..10 * ROUNDS {
        times.push(get(agent, "/healthz").await);
    }
    let (_, median, high) = spread(times);
    (median, high)
}
