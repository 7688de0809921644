//! Measures resident memory.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::scrapes::scrape;
use crate::support::agent::{Agent, TOKEN};
use crate::support::filesystems::MountedFs;
use crate::support::loopback::{connect_from, nth_source};
use crate::support::processes::descriptors;
use crate::support::sshd::{Sshd, User};
use crate::support::wait::until;

const STORES: usize = 8;
const CONNECTIONS: usize = 500;

pub(crate) fn resident(agent: &Agent) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}

pub(crate) async fn idle_and_after_connections(sshd: &Sshd, user: &User) {
    let disk = MountedFs::of("ext4");
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
    // Two rounds of probes are the work of an idle daemon.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let idle = resident(&agent);
    for _ in 0..20 {
        scrape(agent.address()).await;
    }
    let scraped = resident(&agent);
    // All connections are open at once, and each sends a request.
    let path = "/zstack/v1/backup-storage/image-store";
    let mut open = Vec::new();
    for number in 0..CONNECTIONS {
        // The daemon limits the connections of one source.
        open.push(connect_from(nth_source(number), agent.address()).await.unwrap());
    }
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: OAuth {TOKEN}\r\n\r\n");
    let mut requests = JoinSet::new();
    for mut stream in open {
        let request = request.clone();
        requests.spawn(async move {
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut status = [0; 15];
            stream.read_exact(&mut status).await.unwrap();
            assert_eq!(&status, b"HTTP/1.1 200 OK");
            stream
        });
    }
    let answered = requests.join_all().await;
    let at_once = resident(&agent);
    drop(answered);
    let closed = async || descriptors(agent.pid()) < 64;
    until("the connections are closed", closed).await;
    let after = resident(&agent);
    println!("resident memory with {STORES} stores");
    println!("    idle after a start        {idle:.1} MiB; goal 10");
    println!("    after 20 scrapes          {scraped:.1} MiB; goal 10.5");
    println!("    after adding them         {after_adds:.1} MiB");
    println!("    {CONNECTIONS} connections open      {at_once:.1} MiB");
    println!("    after {CONNECTIONS} connections     {after:.1} MiB; goal 16");
}
