//! Good calls beside thousands of connections that say nothing, or stop in the middle, and come
//! again as soon as they are closed.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::support::agent::{Agent, TOKEN};
use crate::support::http_server::{HttpRequest, exchange};
use crate::support::processes::descriptors;
use crate::support::test_ca::TestCa;
use crate::support::wait::until;

/// Makes this program an attacker: the address and the number of connections.
const ATTACK: &str = "HOSTILE_ATTACK";
const ATTACKERS: u32 = 2;
/// Source addresses of one attacker. With this many, no source reaches its share.
const SOURCES: u32 = 50;
/// Written by an attacker for each connection that it opens anew.
const REFILL: u8 = b'.';
const LIST: &str = "GET /zstack/v1/backup-storage/image-store";
/// Bound of the 99th percentile, where the machine is free for this test.
const MAX_P99: Duration = Duration::from_millis(100);

/// Connections of all attackers: more where the machine is free for this test.
fn sockets() -> Option<u32> {
    let set = std::env::var("HOSTILE_SOCKETS").ok();
    set.map(|set| set.parse().expect("HOSTILE_SOCKETS is a number"))
}

/// Processes that attack until they are dropped.
struct Attackers {
    children: Vec<Child>,
    refills: Arc<AtomicUsize>,
}

impl Attackers {
    fn start(test: &str, address: SocketAddr, sockets: u32) -> Self {
        let start = |n| {
            // An attacker on another machine takes no processor time of the daemon.
            Command::new("nice")
                .args(["-n", "19"])
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", test, "--nocapture"])
                .env(ATTACK, format!("{address} {n} {}", sockets / ATTACKERS))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let mut children: Vec<_> = (0..ATTACKERS).map(start).collect();
        let refills = Arc::new(AtomicUsize::new(0));
        for child in &mut children {
            let (refills, mut out) = (Arc::clone(&refills), child.stdout.take().unwrap());
            std::thread::spawn(move || {
                let mut read = [0; 4096];
                while let Ok(length @ 1..) = out.read(&mut read) {
                    let count = read[..length].iter().filter(|byte| **byte == REFILL).count();
                    refills.fetch_add(count, Ordering::Relaxed);
                }
            });
        }
        Self { children, refills }
    }

    fn refills(&self) -> usize {
        self.refills.load(Ordering::Relaxed)
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Attacks for ever if this process is an attacker.
async fn attack_if_asked_to() {
    let Ok(attack) = std::env::var(ATTACK) else { return };
    let [address, attacker, sockets] = attack.split(' ').collect::<Vec<_>>()[..] else { panic!() };
    let address: SocketAddr = address.parse().unwrap();
    let (attacker, sockets): (u32, u32) = (attacker.parse().unwrap(), sockets.parse().unwrap());
    let hello: Arc<[u8]> = client_hello().into();
    let mut connections = JoinSet::new();
    for n in 0..sockets {
        let hello = Arc::clone(&hello);
        connections.spawn(async move {
            let source = format!("127.{}.{}.1:0", 10 + attacker, n % SOURCES);
            // Half of these beginnings do not fit the protocol of the listener. The
            // daemon closes those connections at once, so they come back at full speed.
            let begin: &[u8] = match n % 4 {
                0 => b"",
                1 => b"GET /healthz HTTP/1.1\r\nHost: local",
                2 => &hello[..hello.len() / 2],
                _ => &hello,
            };
            loop {
                let socket = TcpSocket::new_v4().unwrap();
                // Takes no port until it connects, so that the ports suffice.
                if socket.bind(source.parse().unwrap()).is_err() {
                    tokio::task::yield_now().await;
                    continue;
                }
                let Ok(mut stream) = socket.connect(address).await else { continue };
                let _ = stream.write_all(begin).await;
                let mut heard = [0; 4096];
                while stream.read(&mut heard).await.is_ok_and(|read| read > 0) {}
                std::io::stdout().write_all(&[REFILL]).unwrap();
                std::io::stdout().flush().unwrap();
            }
        });
    }
    connections.join_all().await;
}

/// The first message of a TLS client.
fn client_hello() -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let config = client_config(&TestCa::new());
    let mut hello = Vec::new();
    ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut hello).unwrap();
    hello
}

fn client_config(ca: &TestCa) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(ca.roots())
        .with_no_client_auth()
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A good client of the daemon.
struct Client {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Client {
    async fn connect(&self) -> Box<dyn Stream> {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        match &self.tls {
            None => Box::new(tcp),
            Some(tls) => {
                let name = ServerName::try_from("localhost").unwrap();
                Box::new(tls.connect(name, tcp).await.unwrap())
            }
        }
    }

    /// Makes calls one after the other, each on a connection of its own and then on the kept one.
    /// Returns the times of both, in order.
    async fn call(&self, kept: &mut Box<dyn Stream>, time: Duration) -> [Vec<Duration>; 2] {
        let request = HttpRequest { token: Some(TOKEN), ..HttpRequest::new(LIST, "") }.bytes();
        let (mut new, mut again) = (Vec::new(), Vec::new());
        let end = Instant::now() + time;
        while Instant::now() < end {
            let begun = Instant::now();
            let stream = self.connect().await;
            assert_eq!(exchange(stream, &request).await.status, 200);
            new.push(begun.elapsed());
            let begun = Instant::now();
            let answer = exchange(&mut *kept, &request).await;
            assert_eq!((answer.status, answer.header("connection")), (200, None));
            again.push(begun.elapsed());
        }
        new.sort_unstable();
        again.sort_unstable();
        [new, again]
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

/// Attacks a daemon and calls it meanwhile.
async fn call_beside_an_attack(test: &str, agent: &Agent, tls: Option<TlsConnector>) {
    let kind = if tls.is_some() { "TLS" } else { "plain" };
    let client = Client { address: agent.address(), tls };
    let mut kept = client.connect().await;
    let alone = client.call(&mut kept, Duration::from_secs(1)).await;
    let before = descriptors(agent.pid());
    let count = sockets().unwrap_or(1200);
    let attackers = Attackers::start(test, client.address, count);
    let is_full = async || descriptors(agent.pid()) >= before + 400 && attackers.refills() > 1000;
    until("the daemon is full, and closes connections", is_full).await;
    let time = Duration::from_secs(if sockets().is_some() { 30 } else { 3 });
    let first = attackers.refills();
    let attacked = client.call(&mut kept, time).await;
    let refills = attackers.refills() - first;
    let open = descriptors(agent.pid()) - before;
    drop(attackers);
    for (what, alone, attacked) in
        [("a new connection", &alone[0], &attacked[0]), ("a kept one", &alone[1], &attacked[1])]
    {
        println!(
            "{kind}, {count} hostile sockets, {refills} refilled in {time:?}, {what}: {} calls, median \
             {:?}, p99 {:?}, longest {:?}; alone p99 {:?}",
            attacked.len(),
            percentile(attacked, 50),
            percentile(attacked, 99),
            percentile(attacked, 100),
            percentile(alone, 99),
        );
        if sockets().is_some() {
            assert!(percentile(attacked, 99) < MAX_P99, "{what}");
        }
    }
    // The descriptors of its permits and of the tarpit, and some for what it does besides.
    assert!(open <= 512 + 64 + 8192 + 64, "{open} more descriptors are open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_calls_are_answered_beside_hostile_sockets() {
    attack_if_asked_to().await;
    let mut agent = Agent::installed(Path::new("/var/lib/imagestore"), "");
    agent.start();
    let test = "daemon::hostile::good_calls_are_answered_beside_hostile_sockets";
    call_beside_an_attack(test, &agent, None).await;
    assert!(agent.terminate().0.success());
    assert!(agent.log().contains("connections without a session closed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_calls_over_tls_are_answered_beside_hostile_sockets() {
    attack_if_asked_to().await;
    let ca = TestCa::new();
    let mut agent = Agent::installed(Path::new("/var/lib/imagestore"), "");
    let (cert, key) = ca.issue("localhost");
    let tls = format!("[server.tls]\ncert = {cert:?}\nkey = {key:?}\n");
    agent.configure(&agent.settings().replacen("[state]", &format!("{tls}[state]"), 1));
    agent.start();
    let test = "daemon::hostile::good_calls_over_tls_are_answered_beside_hostile_sockets";
    let connector = TlsConnector::from(Arc::new(client_config(&ca)));
    call_beside_an_attack(test, &agent, Some(connector)).await;
    assert!(agent.terminate().0.success());
}
