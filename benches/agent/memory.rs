//! Resident memory.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::support::agent::Agent;
use crate::support::filesystems::Mounted;
use crate::support::sshd::{Sshd, User};

const STORES: usize = 8;

fn resident(agent: &Agent) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}

pub(crate) async fn idle_and_after_connections(sshd: &Sshd, user: &User) {
    let disk = Mounted::of("ext4");
    let mut agent = Agent::installed(&disk.path(), "[monitor]\ninterval = \"1s\"\n");
    agent.start();
    for n in 0..STORES {
        let dir = disk.path().join(format!("store{n}"));
        std::fs::create_dir(&dir).unwrap();
        agent.add(&dir, sshd, user).await;
    }
    let after_adds = resident(&agent);
    agent.terminate();
    agent.start();
    // Two rounds of probes: what an idle daemon does.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let idle = resident(&agent);
    let mut open = Vec::new();
    for _ in 0..500 {
        open.push(TcpStream::connect(agent.address()).await.unwrap());
    }
    let path = "/zstack/v1/backup-storage/image-store";
    let mut asked = tokio::task::JoinSet::new();
    drop(open);
    for _ in 0..500 {
        let http = agent.http();
        asked.spawn(async move { http.ask(hyper::Method::GET, path, None).await.map(drop) });
    }
    while let Some(answer) = asked.join_next().await {
        let _ = answer.unwrap();
    }
    let after = resident(&agent);
    println!("resident memory with {STORES} stores");
    println!("    idle after a start        {idle:.1} MiB; goal 10");
    println!("    after adding them         {after_adds:.1} MiB");
    println!("    after 500 connections     {after:.1} MiB; goal 16");
}
