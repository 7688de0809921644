//! Compares a reconnect with the login that is its largest part.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use imagestore_agent::model::{Secret, SshAddress, SshCredentials};
use imagestore_agent::settings::Settings;
use imagestore_agent::ssh::{EvidenceScope, LoginClass, LoginDeadline, LoginRequest, Verifier};
use rusqlite::Connection;
use russh::client;
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, decode_secret_key};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::figures::{compare, spread};
use crate::requests::Peer;
use crate::support::agent::{Agent, TEST_TIMEOUT, TOKEN};
use crate::support::loopback::{connect_from, nth_source};
use crate::support::sshd::{KeyPair, Sshd, User};

const ROUNDS: usize = 61;
/// Highest time that a reconnect may take beyond its login and its commits.
const MARGIN: Duration = Duration::from_millis(1);

struct AnyKey;

impl client::Handler for AnyKey {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// Logs in with russh alone, the least that any program with russh needs.
async fn bare_login(sshd: &Sshd, user: &User) -> Duration {
    let begun = Instant::now();
    let config = Arc::new(client::Config { nodelay: true, ..client::Config::default() });
    let mut session = client::connect(config, sshd.address, AnyKey).await.unwrap();
    let outcome = session.authenticate_password(&user.name, &user.password).await.unwrap();
    assert!(outcome.success());
    let took = begun.elapsed();
    session.disconnect(russh::Disconnect::ByApplication, "", "").await.unwrap();
    took
}

/// Logs in as [`bare_login`] does, by a key.
pub(crate) async fn bare_login_by_key(sshd: &Sshd, user: &User, pair: &KeyPair) -> Duration {
    let key = Arc::new(decode_secret_key(&pair.private, None).unwrap());
    let begun = Instant::now();
    let config = Arc::new(client::Config { nodelay: true, ..client::Config::default() });
    let mut session = client::connect(config, sshd.address, AnyKey).await.unwrap();
    let key = PrivateKeyWithHashAlg::new(key, None);
    let outcome = session.authenticate_publickey(&user.name, key).await.unwrap();
    assert!(outcome.success());
    let took = begun.elapsed();
    session.disconnect(russh::Disconnect::ByApplication, "", "").await.unwrap();
    took
}

/// Logs in through the daemon's own check, which also verifies the host.
pub(crate) async fn checked_login(
    verifier: &Verifier,
    sshd: &Sshd,
    user: &User,
    credentials: &SshCredentials,
) -> Duration {
    let (hostname, port) = (sshd.address.ip().to_string(), sshd.address.port());
    let login = LoginRequest {
        address: SshAddress {
            hostname: hostname.parse().unwrap(),
            port: NonZeroU16::new(port).unwrap(),
        },
        username: user.name.clone(),
        credentials: credentials.clone(),
        pinned: None,
        given_fingerprints: Vec::new(),
        evidence: EvidenceScope::Full(None),
    };
    let begun = tokio::time::Instant::now();
    let deadline = LoginDeadline::for_attempt(TEST_TIMEOUT);
    let prepared = verifier.prepare_login(login, LoginClass::Attempt, deadline).await.unwrap();
    let verified = verifier.verify(prepared, deadline).await;
    let took = begun.elapsed();
    verified.unwrap();
    verifier.finish_disconnects().await;
    took
}

/// Size of the log from which SQLite begins again at its start. Before that, each commit makes the
/// file longer, which the filesystem must record as well.
const FULL_LOG: u64 = 4_000_000;
/// Number of reconnects while the log grows.
const FIRST_ROUNDS: usize = 25;

fn log_size(agent: &Agent, ledger: &str) -> u64 {
    std::fs::metadata(agent.path(ledger)).unwrap().len()
}

/// Opens a database of one row with the settings of the ledger.
fn bare_ledger(agent: &Agent) -> Connection {
    let ledger = Connection::open(agent.path("bare.sqlite")).unwrap();
    ledger.pragma_update(None, "journal_mode", "WAL").unwrap();
    ledger.pragma_update(None, "synchronous", "FULL").unwrap();
    ledger.execute("CREATE TABLE status (id INTEGER PRIMARY KEY, text TEXT)", []).unwrap();
    ledger
}

fn bare_commit(ledger: &Connection) -> Duration {
    let begun = Instant::now();
    let sql = "INSERT OR REPLACE INTO status VALUES (1, hex(randomblob(200)))";
    ledger.prepare_cached(sql).unwrap().execute([]).unwrap();
    begun.elapsed()
}

pub(crate) async fn reconnect_beside_a_bare_login(
    agent: &Agent,
    store: &str,
    sshd: &Sshd,
    user: &User,
) {
    let verifier = Verifier::new(&Settings::built_in().ssh);
    let credentials = SshCredentials::password(Secret::new(user.password.clone()));
    let ledger = bare_ledger(agent);
    let (mut agent_times, mut checked, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    let mut bound = Vec::new();
    let (mut first, mut first_peer) = (Vec::new(), Vec::new());
    while log_size(agent, "state/ledger.sqlite-wal") < FULL_LOG {
        let took = at_once(agent.address(), store, 1).await;
        if first.len() < FIRST_ROUNDS {
            first.push(took);
            first_peer.push(bare_login(sshd, user).await);
        }
    }
    while log_size(agent, "bare.sqlite-wal") < FULL_LOG {
        bare_commit(&ledger);
    }
    compare(
        "the first reconnects after a start, while the log grows",
        first,
        first_peer,
        "no goal",
    );
    for _ in 0..ROUNDS {
        let begun = bare_commit(&ledger);
        peer.push(bare_login(sshd, user).await);
        bound.push(begun + *peer.last().unwrap() + bare_commit(&ledger) + MARGIN);
        checked.push(checked_login(&verifier, sshd, user, &credentials).await);
        agent_times.push(at_once(agent.address(), store, 1).await);
    }
    let goal = "goal 1.10 on a disk that syncs under 0.5 ms";
    compare(
        "reconnect over HTTP (password) beside a bare russh login",
        agent_times,
        peer.clone(),
        goal,
    );
    let (_, most, _) = spread(bound);
    println!(
        "    a bare login, two bare commits and {MARGIN:?} take {most:?}, the most it may ever take"
    );
    compare("the login check alone beside a bare russh login", checked, peer, "no goal");
    let mut syncs = Vec::new();
    let file = std::fs::File::create(agent.path("sync")).unwrap();
    for _ in 0..ROUNDS {
        std::io::Write::write_all(&mut &file, &[0; 4096]).unwrap();
        let begun = Instant::now();
        file.sync_data().unwrap();
        syncs.push(begun.elapsed());
    }
    println!("    the state disk syncs 4 KiB in {:?}", spread(syncs).1);
}

/// Sends one call on an open connection, so that the client adds as little time as possible.
async fn call(mut stream: TcpStream, request: Arc<[u8]>) {
    stream.write_all(&request).await.unwrap();
    let mut answer = Vec::with_capacity(2048);
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
}

/// Returns the time from the first byte of the first request to the last byte of the last response.
async fn at_once(address: SocketAddr, store: &str, callers: usize) -> Duration {
    let body = r#"{"params":{}}"#;
    let request = format!(
        "PUT /zstack/v1/backup-storage/image-store/{store}/actions HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: OAuth {TOKEN}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let request: Arc<[u8]> = request.into_bytes().into();
    let mut streams = Vec::new();
    for number in 0..callers {
        // The daemon limits the connections of one source.
        streams.push(connect_from(nth_source(number), address).await.unwrap());
    }
    let begun = Instant::now();
    let calls: JoinSet<()> =
        streams.into_iter().map(|stream| call(stream, Arc::clone(&request))).collect();
    calls.join_all().await;
    begun.elapsed()
}

/// Compares overlapping calls with one call, and with the same number of calls to a constant
/// server. The latter shows the client's own share, of which some runs in parallel with the login.
pub(crate) async fn overlapping_beside_one(agent: &Agent, store: &str) {
    let path = format!("/zstack/v1/backup-storage/image-store/{store}");
    let body =
        agent.http().send_request(hyper::Method::GET, &path, None).await.unwrap().body.to_string();
    let constant = Peer::start(&body);
    let (mut many, mut one, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..21 {
        one.push(at_once(agent.address(), store, 1).await);
        many.push(at_once(agent.address(), store, 200).await);
        bare.push(at_once(constant.address, store, 200).await);
    }
    compare("200 overlapping reconnects beside one, on open connections", many, one, "goal 1.15");
    println!("    a constant answer from hyper to 200 takes {:?}", spread(bare).1);
}
