//! `docs/ssh-verification.md`, row by row: each test sets up a real situation and compares the
//! outcome with the row.

use std::time::Duration;

use imagestore_agent::catalog::{Language, condition_guidance};
use imagestore_agent::model::{Condition, Fact, Fault, HostIdentity, SshCredentials};
use imagestore_agent::settings::{HostKeyPolicy, SshSettings};
use imagestore_agent::ssh::{LoginRequest, VerifiedLogin};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::ssh::accounts;
use crate::ssh::{by_key, by_password, login, pinned, secret, ssh_address, ssh_settings};
use crate::ssh::{verify, verify_by};
use crate::support::corrupting_proxy::CorruptingProxy;
use crate::support::dropbear::Dropbear;
use crate::support::failures::english_action;
use crate::support::non_ssh_peers::{BANNER, NonSshPeer, Script};
use crate::support::raw_ssh_server::RawSshServer;
use crate::support::requirements::needs_root;
use crate::support::scripted_ssh_server::{self, ScriptedSshServer};
use crate::support::sshd::{Builder, HostKeyFile, KeyPair, Sshd, User};

pub(crate) type Outcome = Result<VerifiedLogin, Fault>;

/// Maximum time of a row.
const ROW_TIMEOUT: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(300);

struct Row {
    situation: String,
    answer: String,
    evidence: Vec<String>,
    remedy: String,
    /// Number of authentication attempts in sshd's log; none if no sshd counts them.
    auth_attempts: Option<usize>,
}

/// The outcome of a situation, and the sshd behind it.
pub(crate) struct RowSetup {
    outcome: Outcome,
    sshd: Option<Sshd>,
}

impl From<Outcome> for RowSetup {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, sshd: None }
    }
}

impl From<(Outcome, Sshd)> for RowSetup {
    fn from((outcome, sshd): (Outcome, Sshd)) -> Self {
        Self { outcome, sshd: Some(sshd) }
    }
}

fn rows() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ssh-verification.md");
    let text = std::fs::read_to_string(path).unwrap();
    let table = text.lines().skip_while(|line| !line.starts_with("| situation |")).skip(2);
    let quoted = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    table
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [situation, answer, evidence, auth_attempts, remedy] = cells[..] else {
                panic!("{line}")
            };
            Row {
                situation: situation.to_owned(),
                answer: quoted(answer).pop().unwrap_or_default(),
                evidence: quoted(evidence),
                remedy: remedy.to_owned(),
                auth_attempts: (auth_attempts != "-").then(|| auth_attempts.parse().unwrap()),
            }
        })
        .collect()
}

// A thread closes each connection that the check leaves, while this one waits for sshd.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_row_of_the_document_is_what_happens() {
    needs_root!();
    let rows = rows();
    assert!(rows.len() >= 25, "{}", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let began = Instant::now();
        let played = timeout(ROW_TIMEOUT, play(&row.situation)).await;
        let played = played.unwrap_or_else(|_| panic!("{} does not end", row.situation));
        let (took, auth_attempts) =
            (began.elapsed(), played.sshd.as_ref().map(Sshd::auth_attempts));
        let outcome = played.outcome;
        let miscounted = (auth_attempts != row.auth_attempts).then_some("another number of tries");
        if let Some(problem) = differs(&row, &outcome).or(miscounted) {
            let row = row.situation;
            wrong
                .push(format!("{row}: {problem}: {outcome:?}, tries {auth_attempts:?} ({took:?})"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the differences from the row.
fn differs(row: &Row, outcome: &Outcome) -> Option<&'static str> {
    let fault = match outcome {
        Ok(_) if row.answer != "logged in" => return Some("logged in"),
        Ok(verified) => return differs_in_proof(row, &verified.host_identity),
        Err(fault) => fault,
    };
    if row.answer != fault.reason().as_str() {
        return Some("another reason");
    }
    let fact_text = |name: &String| match fault.facts().get(name) {
        Some(Fact::List(list)) => !list.is_empty(),
        Some(Fact::Text(text)) => !text.is_empty(),
        other => other.is_some(),
    };
    if row.evidence.is_empty() || !row.evidence.iter().all(fact_text) {
        return Some("the evidence is not there");
    }
    (row.remedy != english_action(fault)).then_some("another remedy")
}

fn differs_in_proof(row: &Row, proof: &HostIdentity) -> Option<&'static str> {
    let unavailable = Condition::ProofUnavailable;
    let (seen, remedy) = match proof {
        HostIdentity::NotChecked => (vec![], "-".into()),
        HostIdentity::Verified { evidence, .. } => (vec![evidence.as_str()], "-".into()),
        HostIdentity::Unverified(unproven) => {
            let action = condition_guidance(unavailable).action.plain(Language::English);
            (vec![unavailable.as_str(), unproven.obstacle.as_str()], action)
        }
    };
    if row.evidence != seen {
        return Some("another proof");
    }
    (row.remedy != remedy).then_some("another remedy")
}

/// Sets the situation up and logs in.
async fn play(situation: &str) -> RowSetup {
    let words = situation.split_once(": ").map_or(situation, |(kind, _)| kind);
    match words {
        "address" => addresses(situation).await.into(),
        "port" => ports(situation).await.into(),
        "peer" => peers(situation).await.into(),
        "key exchange" => key_exchanges(situation).await,
        "host key" => host_keys(situation).await,
        "secret" => secrets(situation).await.into(),
        "login" => logins(situation).await,
        "keyboard-interactive" => prompts(situation).await.into(),
        "account" => accounts::accounts(situation).await,
        "host" => accounts::hosts(situation).await,
        _ => panic!("unknown situation {situation:?}"),
    }
}

fn anyone(host: &str, port: u16) -> LoginRequest {
    let login =
        login(([127, 0, 0, 1], 22).into(), "anyone", SshCredentials::password(secret("hunter2")));
    LoginRequest { address: ssh_address(host, port), ..login }
}

fn wrong(login: LoginRequest) -> LoginRequest {
    LoginRequest { credentials: SshCredentials::password(secret("hunter2")), ..login }
}

async fn addresses(situation: &str) -> Outcome {
    match situation {
        "address: the name has no address" => verify(&anyone("no-such.invalid", 22)).await,
        "address: of another host, not in `ssh.allowed_targets`" => {
            verify(&anyone("192.0.2.1", 22)).await
        }
        _ => panic!("unknown situation {situation:?}"),
    }
}

async fn ports(situation: &str) -> Outcome {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    match situation {
        // Bound, so that no other process gets it, and not listening.
        "port: no listener" => verify(&anyone("127.0.0.1", port)).await,
        "port: packets are dropped" => {
            let listener = socket.listen(0).unwrap();
            let address = listener.local_addr().unwrap();
            // The kernel drops connections beyond the listener's queue.
            let mut queued = Vec::new();
            while let Ok(Ok(tcp)) = timeout(SHORT, TcpStream::connect(address)).await {
                queued.push(tcp);
            }
            let settings = SshSettings { connect_timeout: SHORT, ..ssh_settings() };
            verify_by(&settings, &anyone("127.0.0.1", port)).await
        }
        "port: sshd is frozen (SIGSTOP)" => {
            let sshd = Builder::new().start();
            sshd.freeze();
            let settings = SshSettings { handshake_timeout: SHORT, ..ssh_settings() };
            verify_by(&settings, &anyone("127.0.0.1", sshd.address.port())).await
        }
        "port: sshd has `MaxStartups` connections that are not logged in" => {
            let sshd = Builder::new().line("MaxStartups 1:100:1").start();
            let held = TcpStream::connect(sshd.address).await.unwrap();
            // sshd counts the connection once it has sent its banner.
            held.readable().await.unwrap();
            verify(&anyone("127.0.0.1", sshd.address.port())).await
        }
        _ => panic!("unknown situation {situation:?}"),
    }
}

async fn peers(situation: &str) -> Outcome {
    if situation == "peer: packets with a wrong MAC" {
        let sshd = Builder::new().start();
        let proxy = CorruptingProxy::before(sshd.address).await;
        return verify(&anyone("127.0.0.1", proxy.address.port())).await;
    }
    // A packet whose length field says 100 MB.
    const HUGE: &[u8] =
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\x06\x00\x00\x00\x04\x14aaaaaaaaaaaaaaaa";
    let script = match situation {
        "peer: sends nothing" => Script::Silent,
        "peer: one byte a second" => Script::Drips(BANNER, Duration::from_secs(1)),
        "peer: endless lines before its identification" => Script::Repeats(b"not yet\r\n"),
        "peer: an HTTP server" => {
            Script::AnswersAndCloses(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        }
        "peer: an FTP server" => Script::Says(b"220 ftp ready\r\n"),
        "peer: closes at once" => Script::SaysAndCloses(b""),
        "peer: disconnects with \"too many connections\"" => {
            Script::SaysAndCloses(b"Exceeded MaxStartups\r\n")
        }
        "peer: rejects a penalised address" => {
            Script::SaysAndCloses(b"Not allowed at this time\r\n")
        }
        "peer: sends nothing after its identification" => Script::Says(BANNER),
        "peer: resets the connection in the key exchange" => Script::SaysAndResets(BANNER),
        "peer: a packet of 100 MB" => Script::Says(HUGE),
        _ => panic!("unknown situation {situation:?}"),
    };
    let peer = NonSshPeer::start(script).await;
    let settings = SshSettings { handshake_timeout: Duration::from_secs(2), ..ssh_settings() };
    verify_by(&settings, &anyone("127.0.0.1", peer.address.port())).await
}

async fn key_exchanges(situation: &str) -> RowSetup {
    let lines: &[&str] = match situation {
        "key exchange: only a legacy key exchange" => {
            &["KexAlgorithms diffie-hellman-group14-sha1"]
        }
        "key exchange: only a legacy host key" => &["HostKeyAlgorithms ssh-rsa"],
        "key exchange: only legacy ciphers" => &["Ciphers 3des-cbc"],
        "key exchange: only legacy MACs" => &["Ciphers aes128-ctr", "MACs hmac-sha1"],
        _ => panic!("unknown situation {situation:?}"),
    };
    let server = Builder::new().host_key(&HostKeyFile::generate("rsa"));
    let sshd = lines.iter().fold(server, |server, line| server.line(line)).start();
    (verify(&anyone("127.0.0.1", sshd.address.port())).await, sshd).into()
}

async fn host_keys(situation: &str) -> RowSetup {
    let (sshd, user) = (Builder::new().start(), User::create());
    let login = by_password(&sshd, &user);
    let stranger = HostKeyFile::generate("ed25519").fingerprint();
    let outcome = match situation {
        "host key: not the pinned one" => {
            let other = Builder::new().start();
            let key = verify(&by_password(&other, &user)).await.unwrap().host_key;
            verify(&pinned(&key, login)).await
        }
        "host key: not the one of the given fingerprint" => {
            verify(&LoginRequest { given_fingerprints: vec![stranger], ..login }).await
        }
        "host key: none given, under the strict policy" => {
            let settings = SshSettings { host_key_policy: HostKeyPolicy::Strict, ..ssh_settings() };
            verify_by(&settings, &login).await
        }
        _ => panic!("unknown situation {situation:?}"),
    };
    (outcome, sshd).into()
}

async fn secrets(situation: &str) -> Outcome {
    let nothing = SshCredentials { password: None, private_key: None, passphrase: None };
    let key = KeyPair::generate("ed25519", "open sesame").private;
    let credentials = match situation {
        "secret: none" => nothing,
        "secret: a text that is no private key" => {
            SshCredentials { private_key: Some(secret("garbage of a key")), ..nothing }
        }
        "secret: a wrong passphrase" => SshCredentials {
            private_key: Some(secret(&key)),
            passphrase: Some(secret("shut sesame")),
            ..nothing
        },
        "secret: a private key without its passphrase" => {
            SshCredentials { private_key: Some(secret(&key)), ..nothing }
        }
        _ => panic!("unknown situation {situation:?}"),
    };
    verify(&LoginRequest { credentials, ..anyone("127.0.0.1", 1) }).await
}

async fn logins(situation: &str) -> RowSetup {
    let verify_against =
        async |script,
               login: &dyn Fn(&ScriptedSshServer) -> (SshSettings, LoginRequest)|
               -> RowSetup {
            let server = ScriptedSshServer::start(script).await;
            let (settings, login) = login(&server);
            verify_by(&settings, &login).await.into()
        };
    let at = |server: &ScriptedSshServer| anyone("127.0.0.1", server.address.port());
    match situation {
        "login: Dropbear, the right password" => {
            let (dropbear, user) = (Dropbear::start(), User::create());
            let password = SshCredentials::password(secret(&user.password));
            verify(&login(dropbear.address, &user.name, password)).await.into()
        }
        "login: Dropbear, a wrong password" => {
            let (dropbear, user) = (Dropbear::start(), User::create());
            let password = SshCredentials::password(secret("hunter2"));
            verify(&login(dropbear.address, &user.name, password)).await.into()
        }
        "login: only RSA signatures with SHA-1" => {
            let private_key = Some(secret(&KeyPair::generate("rsa", "").private));
            let credentials = SshCredentials { password: None, private_key, passphrase: None };
            let login = |server: &ScriptedSshServer| {
                (ssh_settings(), LoginRequest { credentials: credentials.clone(), ..at(server) })
            };
            verify_against(scripted_ssh_server::Script::AcceptsPasswords, &login).await
        }
        "login: the server never decides" => {
            let soon = |server: &ScriptedSshServer| {
                (SshSettings { auth_timeout: SHORT, ..ssh_settings() }, at(server))
            };
            verify_against(scripted_ssh_server::Script::NeverDecides, &soon).await
        }
        "login: the connection is lost" => {
            verify_against(scripted_ssh_server::Script::Disconnects, &|server| {
                (ssh_settings(), at(server))
            })
            .await
        }
        "login: the server disconnects with the code of a refusal" => {
            let server = RawSshServer::disconnecting(14, "Anmeldung verweigert").await;
            verify(&anyone("127.0.0.1", server.address.port())).await.into()
        }
        "login: the server asks for a new password (RFC 4252 section 8)" => {
            let server = RawSshServer::requesting_new_password("Neues Kennwort").await;
            let settings = SshSettings { auth_timeout: SHORT, ..ssh_settings() };
            verify_by(&settings, &anyone("127.0.0.1", server.address.port())).await.into()
        }
        _ => at_sshd(situation).await,
    }
}

async fn at_sshd(situation: &str) -> RowSetup {
    let (user, text) = (User::create(), tempfile::NamedTempFile::new().unwrap());
    let banner = format!("Banner {}", text.path().display());
    let lines: &[&str] = match situation {
        "login: a wrong password, `MaxAuthTries 1`" => &["MaxAuthTries 1"],
        "login: a wrong key, then the right password, `MaxAuthTries 2`" => &["MaxAuthTries 2"],
        "login: a wrong password, PAM delays the rejection"
        | "login: the limit is shorter than PAM's delay" => &["UsePAM yes"],
        "login: passwords are off" => &["PasswordAuthentication no"],
        "login: key and password required, only a key given" => {
            &["AuthenticationMethods publickey,password"]
        }
        "login: after a banner text" | "login: refused after a banner text" => {
            std::fs::write(text.path(), "Authorized use only.\n").unwrap();
            &[&banner]
        }
        _ => &[],
    };
    let sshd = lines.iter().fold(Builder::new(), |server, line| server.line(line)).start();
    let login = by_password(&sshd, &user);
    let strange = by_key(&sshd, &user, &KeyPair::generate("ed25519", ""), None);
    let outcome = match situation {
        "login: a wrong password"
        | "login: refused after a banner text"
        | "login: a wrong password, `MaxAuthTries 1`"
        | "login: a wrong password, PAM delays the rejection" => verify(&wrong(login)).await,
        "login: a user that does not exist" => {
            verify(&LoginRequest { username: "no-such-user".into(), ..login }).await
        }
        "login: a key that is not authorized" => verify(&strange).await,
        "login: a wrong key, then the right password, `MaxAuthTries 2`" => {
            let password = Some(secret(&user.password));
            let credentials = SshCredentials { password, ..strange.credentials };
            verify(&LoginRequest { credentials, ..login }).await
        }
        "login: the limit is shorter than PAM's delay" => {
            let settings = SshSettings { auth_timeout: SHORT, ..ssh_settings() };
            verify_by(&settings, &wrong(login)).await
        }
        "login: passwords are off" | "login: after a banner text" => verify(&login).await,
        "login: key and password required, only a key given" => {
            let key = KeyPair::generate("ed25519", "");
            sshd.authorize(&user, &key);
            verify(&by_key(&sshd, &user, &key, None)).await
        }
        "login: sshd's process is frozen (SIGSTOP)" => return accounts::frozen(&user).await,
        _ => panic!("unknown situation {situation:?}"),
    };
    (outcome, sshd).into()
}

async fn prompts(situation: &str) -> Outcome {
    let script = match situation {
        "keyboard-interactive: the password, then a code" => scripted_ssh_server::Script::Asks(&[
            &[("Password: ", false)],
            &[("Verification code: ", false)],
        ]),
        "keyboard-interactive: the same prompt twice" => {
            scripted_ssh_server::Script::AsksForEver(&[("Password: ", false)])
        }
        "keyboard-interactive: endless prompts" => scripted_ssh_server::Script::AsksForEver(&[]),
        "keyboard-interactive: rounds without a prompt" => {
            scripted_ssh_server::Script::Asks(&[&[], &[("Password: ", false)], &[]])
        }
        _ => panic!("unknown situation {situation:?}"),
    };
    let server = ScriptedSshServer::start(script).await;
    verify(&anyone("127.0.0.1", server.address.port())).await
}
