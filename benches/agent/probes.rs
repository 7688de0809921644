//! Compares a probe with `df`, and measures the daemon's processor time and memory by its number of
//! stores.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hyper::Method;
use imagestore_agent::common::Timestamp;
use imagestore_agent::model::{ImageDir, MarkerId, NodeId, StoreUuid};
use imagestore_agent::probe::{
    KnownStores, MarkerClaim, ProbeExpectation, ProbeOptions, Prober, WorkerSlot,
};
use tokio::task::JoinSet;

use crate::figures::compare;
use crate::support::agent::{Agent, PROGRAM, store};
use crate::support::filesystems::MountedFs;
use crate::support::sshd::{Sshd, User};

const ROUNDS: usize = 201;
/// Default probe interval of the daemon.
const PERIOD: Duration = Duration::from_secs(10);
const COUNTS: [usize; 4] = [1, 8, 100, 1000];
/// Processor time in `/proc` counts in hundredths of a second (`sysconf(_SC_CLK_TCK)`).
const TICK: Duration = Duration::from_millis(10);

/// Fields of `/proc/PID/stat` from the 14th on: utime, stime, cutime, cstime.
fn processor_time(process: &str) -> (Duration, Duration) {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(4);
    let ticks: Vec<u32> = fields.map(|field| field.parse().unwrap()).collect();
    (TICK * (ticks[0] + ticks[1]), TICK * (ticks[2] + ticks[3]))
}

/// Compares the latency and the children's processor time of a probe and of `df` on one directory.
pub(crate) async fn probe_beside_df() {
    let disk = MountedFs::of("ext4");
    let options = ProbeOptions {
        allowed_roots: vec![disk.path().display().to_string()],
        allow_root_disk: false,
        node_id: NodeId::from_u128(1),
    };
    let prober = Prober::new(options).with_program(PROGRAM.into(), vec!["probe-worker".to_owned()]);
    let dir = ImageDir::parse(disk.path().to_str().unwrap()).unwrap();
    let serve = made(&prober, &dir).await;
    let (mut agent_times, mut peer) = (Vec::new(), Vec::new());
    let mut used = [Duration::ZERO; 2];
    for _ in 0..ROUNDS {
        let (begun, before) = (Instant::now(), processor_time("self").1);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        prober
            .examine(&mut WorkerSlot::new(), &dir, &serve, deadline)
            .await
            .into_inspection()
            .unwrap();
        agent_times.push(begun.elapsed());
        let between = processor_time("self").1;
        let begun = Instant::now();
        df(&disk.path());
        peer.push(begun.elapsed());
        used[0] += between - before;
        used[1] += processor_time("self").1 - between;
    }
    compare("a probe (spawn, statvfs, marker, exit) beside df", agent_times, peer, "no goal");
    let each = |used: Duration| used / u32::try_from(ROUNDS).unwrap();
    println!("    processor time of the child: agent {:?}, df {:?}", each(used[0]), each(used[1]));
}

async fn made(prober: &Prober, dir: &ImageDir) -> ProbeExpectation {
    let (store, marker) = (StoreUuid::from_u128(10), MarkerId::from_u128(20));
    let add = ProbeExpectation::Add { store, known: KnownStores::new(|_| false), take_over: false };
    let (slot, deadline) = (&mut WorkerSlot::new(), tokio::time::Instant::now() + PERIOD);
    let examined = prober.examine(slot, dir, &add, deadline).await.into_inspection().unwrap();
    let (place, previous_marker) = (examined.place, examined.previous_marker);
    let claim =
        MarkerClaim { store, marker, created: Timestamp(0), place: place.clone(), previous_marker };
    prober.write_marker(slot, dir, &add, &claim, deadline).await.unwrap();
    ProbeExpectation::Serve { store, marker, place, had_registry: false, write: false }
}

fn df(path: &Path) {
    let status = Command::new("df").arg(path).stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
}

/// Measures the daemon alone with more and more stores and default settings.
pub(crate) async fn watching_by_the_number_of_stores(sshd: &Sshd, user: &User) {
    let disk = MountedFs::of("ext4");
    let mut agent = Agent::installed(&disk.path(), "");
    agent.start();
    let mut there = 0;
    let mut memory = Vec::new();
    println!("watching, interval {PERIOD:?}");
    for count in COUNTS {
        add(&agent, &disk.path(), there..count, sshd, user).await;
        there = count;
        // The work after an add is no part of the cost of monitoring.
        agent.terminate();
        agent.start();
        tokio::time::sleep(PERIOD).await;
        let periods = if count < 100 { 6 } else { 3 };
        let process = agent.pid().to_string();
        let before = processor_time(&process);
        tokio::time::sleep(PERIOD * periods).await;
        let after = processor_time(&process);
        let (own, workers) = (after.0 - before.0, after.1 - before.1);
        let share = (own + workers).as_secs_f64() / (PERIOD * periods).as_secs_f64();
        let each = (own + workers) / periods / u32::try_from(count).unwrap();
        let goal = if count == 8 { "; goal 0.3 %" } else { "" };
        println!(
            "    {count:>4} stores: {:.2} % of a core, {each:?} a store and period \
             (daemon {:?}, workers {:?} a period){goal}",
            share * 100.0,
            own / periods,
            workers / periods,
        );
        memory.push(crate::memory::resident(&agent));
    }
    let added = (memory[3] - memory[1]) * 1024.0 / 992.0;
    println!("    resident memory {memory:.1?} MiB: {added:.1} KiB an additional store; goal 20");
}

async fn add(
    agent: &Agent,
    root: &Path,
    numbers: std::ops::Range<usize>,
    sshd: &Sshd,
    user: &User,
) {
    let mut adds = JoinSet::new();
    for number in numbers {
        if adds.len() == 8 {
            assert_eq!(adds.join_next().await.unwrap().unwrap(), 200);
        }
        let dir = root.join(number.to_string());
        std::fs::create_dir(&dir).unwrap();
        let (http, body) = (agent.http(), store(&dir, sshd, user));
        adds.spawn(async move {
            let path = "/zstack/v1/backup-storage/image-store";
            http.send_request(Method::POST, path, Some(&body)).await.unwrap().status.as_u16()
        });
    }
    while let Some(status) = adds.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
}
