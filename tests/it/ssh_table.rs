//! `docs/ssh-verification.md`, row by row: each situation is set up for real, and the check must say what
//! the row says.

use std::time::Duration;

use imagestore_agent::model::{Credentials, Fact, Fault};
use imagestore_agent::settings::{HostKeyPolicy, Ssh};
use imagestore_agent::ssh::{Login, Verified};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::ssh::{by_key, by_password, login, pinned, secret, ssh_address, ssh_settings};
use crate::ssh::{verify, verify_by};
use crate::support::dropbear::Dropbear;
use crate::support::hostile::{BANNER, Hostile, Script};
use crate::support::needs::{needs_root, run};
use crate::support::spoiler::Spoiler;
use crate::support::sshd::{Builder, HostKeyFile, KeyPair, User};
use crate::support::talker::{self, Talker};

type Outcome = Result<Verified, Fault>;

/// Longer than any row may take.
const BOUND: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(300);

struct Row {
    situation: String,
    answer: String,
    evidence: Vec<String>,
    remedy: String,
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
            let [situation, answer, evidence, remedy] = cells[..] else { panic!("{line}") };
            Row {
                situation: situation.to_owned(),
                answer: quoted(answer).pop().unwrap_or_default(),
                evidence: quoted(evidence),
                remedy: remedy.to_owned(),
            }
        })
        .collect()
}

#[tokio::test]
async fn every_row_of_the_document_is_what_happens() {
    needs_root!();
    let rows = rows();
    assert!(rows.len() >= 25, "{}", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let began = Instant::now();
        let played = timeout(BOUND, play(&row.situation)).await;
        let outcome = played.unwrap_or_else(|_| panic!("{} does not end", row.situation));
        if let Some(problem) = differs(&row, &outcome) {
            wrong.push(format!(
                "{}: {problem}: {outcome:?} ({:?})",
                row.situation,
                began.elapsed()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is not as the row says.
fn differs(row: &Row, outcome: &Outcome) -> Option<&'static str> {
    let Err(fault) = outcome else {
        return (row.answer != "logged in" || row.remedy != "-").then_some("logged in");
    };
    if row.answer != fault.reason().as_str() {
        return Some("another reason");
    }
    let shown = |name: &String| match fault.facts().get(name) {
        Some(Fact::List(list)) => !list.is_empty(),
        Some(Fact::Text(text)) => !text.is_empty(),
        other => other.is_some(),
    };
    if row.evidence.is_empty() || !row.evidence.iter().all(shown) {
        return Some("the evidence is not there");
    }
    (row.remedy != fault.remedy()).then_some("another remedy")
}

/// Sets the situation up and logs in.
async fn play(situation: &str) -> Outcome {
    let words = situation.split_once(": ").map_or(situation, |(kind, _)| kind);
    match words {
        "address" => addresses(situation).await,
        "port" => ports(situation).await,
        "peer" => peers(situation).await,
        "key exchange" => key_exchanges(situation).await,
        "host key" => host_keys(situation).await,
        "secret" => secrets(situation).await,
        "login" => logins(situation).await,
        "account" => accounts(situation).await,
        "conversation" => conversations(situation).await,
        _ => panic!("nobody plays {situation:?}"),
    }
}

fn anyone(host: &str, port: u16) -> Login {
    let login =
        login(([127, 0, 0, 1], 22).into(), "anyone", Credentials::password(secret("hunter2")));
    Login { address: ssh_address(host, port), ..login }
}

fn wrong(login: Login) -> Login {
    Login { credentials: Credentials::password(secret("hunter2")), ..login }
}

async fn addresses(situation: &str) -> Outcome {
    match situation {
        "address: the name has none" => verify(&anyone("no-such.invalid", 22)).await,
        "address: of another machine, not in `ssh.allowed_targets`" => {
            verify(&anyone("192.0.2.1", 22)).await
        }
        _ => panic!("nobody plays {situation:?}"),
    }
}

async fn ports(situation: &str) -> Outcome {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    match situation {
        // Bound, so that nobody else gets it, and not listening.
        "port: nothing listens" => verify(&anyone("127.0.0.1", port)).await,
        "port: packets are dropped" => {
            let listener = socket.listen(0).unwrap();
            let address = listener.local_addr().unwrap();
            // The kernel drops what exceeds a listener's queue.
            let mut queued = Vec::new();
            while let Ok(Ok(tcp)) = timeout(SHORT, TcpStream::connect(address)).await {
                queued.push(tcp);
            }
            let settings = Ssh { connect_timeout: SHORT, ..ssh_settings() };
            verify_by(&settings, &anyone("127.0.0.1", port)).await
        }
        "port: sshd is frozen (SIGSTOP)" => {
            let sshd = Builder::new().start();
            sshd.freeze();
            let settings = Ssh { handshake_timeout: SHORT, ..ssh_settings() };
            verify_by(&settings, &anyone("127.0.0.1", sshd.address.port())).await
        }
        "port: sshd has `MaxStartups` connections that are not logged in" => {
            let sshd = Builder::new().line("MaxStartups 1:100:1").start();
            let held = TcpStream::connect(sshd.address).await.unwrap();
            // Counted by sshd once it has spoken.
            held.readable().await.unwrap();
            verify(&anyone("127.0.0.1", sshd.address.port())).await
        }
        _ => panic!("nobody plays {situation:?}"),
    }
}

async fn peers(situation: &str) -> Outcome {
    if situation == "peer: packets with a wrong MAC" {
        let sshd = Builder::new().start();
        let spoiler = Spoiler::before(sshd.address).await;
        return verify(&anyone("127.0.0.1", spoiler.address.port())).await;
    }
    // A packet that says it has 100 MB.
    const HUGE: &[u8] =
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\x06\x00\x00\x00\x04\x14aaaaaaaaaaaaaaaa";
    let script = match situation {
        "peer: says nothing" => Script::Silent,
        "peer: one byte a second" => Script::Drips(BANNER, Duration::from_secs(1)),
        "peer: lines without end before its name" => Script::Repeats(b"not yet\r\n"),
        "peer: an HTTP server" => {
            Script::AnswersAndCloses(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        }
        "peer: an FTP server" => Script::Says(b"220 ftp ready\r\n"),
        "peer: closes at once" => Script::SaysAndCloses(b""),
        "peer: says that too many are connected" => {
            Script::SaysAndCloses(b"Exceeded MaxStartups\r\n")
        }
        "peer: says that this address is penalised" => {
            Script::SaysAndCloses(b"Not allowed at this time\r\n")
        }
        "peer: silent after its name" => Script::Says(BANNER),
        "peer: resets the connection in the key exchange" => Script::SaysAndResets(BANNER),
        "peer: a packet of 100 MB" => Script::Says(HUGE),
        _ => panic!("nobody plays {situation:?}"),
    };
    let hostile = Hostile::start(script).await;
    let settings = Ssh { handshake_timeout: Duration::from_secs(2), ..ssh_settings() };
    verify_by(&settings, &anyone("127.0.0.1", hostile.address.port())).await
}

async fn key_exchanges(situation: &str) -> Outcome {
    let lines: &[&str] = match situation {
        "key exchange: legacy key exchange alone" => &["KexAlgorithms diffie-hellman-group14-sha1"],
        "key exchange: legacy host key alone" => &["HostKeyAlgorithms ssh-rsa"],
        "key exchange: ancient ciphers alone" => &["Ciphers 3des-cbc"],
        "key exchange: legacy MACs alone" => &["Ciphers aes128-ctr", "MACs hmac-sha1"],
        _ => panic!("nobody plays {situation:?}"),
    };
    let server = Builder::new().host_key(&HostKeyFile::generate("rsa"));
    let sshd = lines.iter().fold(server, |server, line| server.line(line)).start();
    verify(&anyone("127.0.0.1", sshd.address.port())).await
}

async fn host_keys(situation: &str) -> Outcome {
    let (sshd, user) = (Builder::new().start(), User::create());
    let mine = by_password(&sshd, &user);
    let stranger = HostKeyFile::generate("ed25519").fingerprint();
    match situation {
        "host key: not the pinned one" => {
            let other = Builder::new().start();
            let key = verify(&by_password(&other, &user)).await.unwrap().host_key;
            verify(&pinned(&key, mine)).await
        }
        "host key: not the given one" => {
            verify(&Login { given_fingerprints: vec![stranger], ..mine }).await
        }
        "host key: none given, under the strict policy" => {
            let settings = Ssh { host_key_policy: HostKeyPolicy::Strict, ..ssh_settings() };
            verify_by(&settings, &mine).await
        }
        _ => panic!("nobody plays {situation:?}"),
    }
}

async fn secrets(situation: &str) -> Outcome {
    let nothing = Credentials { password: None, private_key: None, passphrase: None };
    let key = KeyPair::generate("ed25519", "open sesame").private;
    let credentials = match situation {
        "secret: none" => nothing,
        "secret: no private key but something else" => {
            Credentials { private_key: Some(secret("garbage of a key")), ..nothing }
        }
        "secret: a wrong passphrase" => Credentials {
            private_key: Some(secret(&key)),
            passphrase: Some(secret("shut sesame")),
            ..nothing
        },
        "secret: a private key without its passphrase" => {
            Credentials { private_key: Some(secret(&key)), ..nothing }
        }
        _ => panic!("nobody plays {situation:?}"),
    };
    verify(&Login { credentials, ..anyone("127.0.0.1", 1) }).await
}

async fn logins(situation: &str) -> Outcome {
    let user = User::create();
    let start = |lines: &[&str]| lines.iter().fold(Builder::new(), |b, line| b.line(line)).start();
    match situation {
        "login: a wrong password" => verify(&wrong(by_password(&start(&[]), &user))).await,
        "login: a user that does not exist" => {
            let sshd = start(&[]);
            verify(&Login { username: "no-such-user".into(), ..by_password(&sshd, &user) }).await
        }
        "login: a key that is not authorized" => {
            let sshd = start(&[]);
            verify(&by_key(&sshd, &user, &KeyPair::generate("ed25519", ""), None)).await
        }
        "login: a wrong password, `MaxAuthTries 1`" => {
            verify(&wrong(by_password(&start(&["MaxAuthTries 1"]), &user))).await
        }
        "login: a wrong key, then the right password, `MaxAuthTries 2`" => {
            let sshd = start(&["MaxAuthTries 2"]);
            let key = by_key(&sshd, &user, &KeyPair::generate("ed25519", ""), None).credentials;
            let password = Some(secret(&user.password));
            verify(&Login {
                credentials: Credentials { password, ..key },
                ..by_password(&sshd, &user)
            })
            .await
        }
        "login: a wrong password, PAM delays the refusal" => {
            verify(&wrong(by_password(&start(&["UsePAM yes"]), &user))).await
        }
        "login: the limit is shorter than PAM's delay" => {
            let sshd = start(&["UsePAM yes"]);
            let settings = Ssh { auth_timeout: SHORT, ..ssh_settings() };
            verify_by(&settings, &wrong(by_password(&sshd, &user))).await
        }
        "login: passwords are off" => {
            verify(&by_password(&start(&["PasswordAuthentication no"]), &user)).await
        }
        "login: key and password wanted, a key alone" => {
            let sshd = start(&["AuthenticationMethods publickey,password"]);
            let key = KeyPair::generate("ed25519", "");
            sshd.authorize(&user, &key);
            verify(&by_key(&sshd, &user, &key, None)).await
        }
        "login: Dropbear, the right password" => {
            let dropbear = Dropbear::start();
            let password = Credentials::password(secret(&user.password));
            verify(&login(dropbear.address, &user.name, password)).await
        }
        "login: Dropbear, a wrong password" => {
            let dropbear = Dropbear::start();
            verify(&wrong(login(dropbear.address, &user.name, Credentials::password(secret("x")))))
                .await
        }
        "login: RSA signatures with SHA-1 alone" => {
            let talker = Talker::start(talker::Script::TakesPasswords).await;
            let private_key = Some(secret(&KeyPair::generate("rsa", "").private));
            let credentials = Credentials { password: None, private_key, passphrase: None };
            verify(&login(talker.address, "anyone", credentials)).await
        }
        "login: the server never decides" => {
            let talker = Talker::start(talker::Script::NeverDecides).await;
            let settings = Ssh { auth_timeout: SHORT, ..ssh_settings() };
            verify_by(&settings, &anyone("127.0.0.1", talker.address.port())).await
        }
        "login: the connection breaks off" => {
            let talker = Talker::start(talker::Script::BreaksOff).await;
            verify(&anyone("127.0.0.1", talker.address.port())).await
        }
        "login: a banner text before it" => {
            let text = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(text.path(), "Authorized use only.\n").unwrap();
            let sshd = start(&[&format!("Banner {}", text.path().display())]);
            verify(&by_password(&sshd, &user)).await
        }
        _ => panic!("nobody plays {situation:?}"),
    }
}

async fn accounts(situation: &str) -> Outcome {
    let user = User::create();
    let lines = match situation {
        "account: a forced command" => "ForceCommand /bin/false",
        "account: SFTP alone, in a chroot" => "ForceCommand internal-sftp",
        "account: not in `AllowUsers`" => "AllowUsers nobody-else",
        _ => "PrintMotd no",
    };
    match situation {
        "account: expired" => drop(run("chage", &["-E", "0", &user.name])),
        "account: locked" => drop(run("usermod", &["-L", &user.name])),
        "account: a shell that lets nobody in (nologin)" => {
            drop(run("usermod", &["-s", "/usr/sbin/nologin", &user.name]));
        }
        "account: a forced command" | "account: not in `AllowUsers`" => {}
        "account: SFTP alone, in a chroot" => {}
        _ => panic!("nobody plays {situation:?}"),
    }
    let chroot = if situation.contains("chroot") { "ChrootDirectory /" } else { "PrintLastLog no" };
    let sshd = Builder::new().line(lines).line(chroot).start();
    verify(&by_password(&sshd, &user)).await
}

async fn conversations(situation: &str) -> Outcome {
    let script = match situation {
        "conversation: the password, then a code" => {
            talker::Script::Asks(&[&[("Password: ", false)], &[("Verification code: ", false)]])
        }
        "conversation: the password is asked for again" => {
            talker::Script::AsksForEver(&[("Password: ", false)])
        }
        "conversation: without end" => talker::Script::AsksForEver(&[]),
        "conversation: rounds without a question" => {
            talker::Script::Asks(&[&[], &[("Password: ", false)], &[]])
        }
        _ => panic!("nobody plays {situation:?}"),
    };
    let talker = Talker::start(script).await;
    verify(&anyone("127.0.0.1", talker.address.port())).await
}
