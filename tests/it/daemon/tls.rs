//! The listener with TLS: the clients that it refuses, those that it admits by certificate, and the
//! reload of a certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use nix::sys::signal::Signal;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::agent::{Agent, TOKEN};
use crate::support::http_server::{HttpRequest, HttpResponse, read_answer};
use crate::support::requirements::needs_root;
use crate::support::test_ca::TestCa;
use crate::support::wait::until;
use tokio::io::AsyncWriteExt as _;

const STORES: &str = "GET /zstack/v1/backup-storage/image-store";

/// A certificate and its key.
type Pair = (PathBuf, PathBuf);

/// A daemon with a certificate for `localhost` from the first CA. It requests client certificates
/// of the second CA.
struct Scene {
    agent: Agent,
    servers: TestCa,
    clients: Option<TestCa>,
}

impl Scene {
    fn set(clients: Option<TestCa>, names: &str) -> Self {
        let servers = TestCa::new();
        let agent = Agent::installed(Path::new("/var/lib/imagestore"), "");
        let (cert, key) = (agent.path("cert.pem"), agent.path("key.pem"));
        let mut tls = format!("[server.tls]\ncert = {cert:?}\nkey = {key:?}\n");
        if let Some(clients) = &clients {
            fs::write(agent.path("clients"), names).unwrap();
            let (ca, file) = (clients.certificate(), agent.path("clients"));
            tls.push_str(&format!("client_ca = {ca:?}\nclients_file = {file:?}\n"));
        }
        agent.configure(&agent.settings().replacen("[state]", &format!("{tls}[state]"), 1));
        let mut scene = Self { agent, servers, clients };
        scene.renew("localhost");
        scene.agent.start();
        scene
    }

    /// Replaces the certificate and the key of the daemon.
    fn renew(&self, name: &str) {
        let (cert, key) = self.servers.issue(name);
        fs::copy(key, self.agent.path("key.pem")).unwrap();
        fs::copy(cert, self.agent.path("cert.pem")).unwrap();
    }

    /// Runs `openssl s_client` with these arguments. Returns true if the request was answered, and
    /// the output.
    fn openssl(&self, args: &[&str]) -> (bool, String) {
        let address = self.agent.address().to_string();
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &address, "-quiet", "-verify_quiet"])
            // OpenSSL offers old protocols at this level only.
            .args(["-cipher", "DEFAULT@SECLEVEL=0"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl; `make packages`");
        let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        // The write fails if the process has ended after a refusal.
        let _ = std::io::Write::write_all(child.stdin.as_mut().unwrap(), request.as_bytes());
        let output = child.wait_with_output().unwrap();
        let output = [output.stdout, output.stderr].concat();
        let output = String::from_utf8_lossy(&output).into_owned();
        (output.contains("HTTP/1.1 200 OK"), output)
    }

    async fn connect(
        &self,
        client_certificate: Option<Pair>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.servers.roots());
        let config = match client_certificate {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let tcp = TcpStream::connect(self.agent.address()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    }

    /// Issues a client certificate for this name.
    fn of(&self, name: &str) -> Option<Pair> {
        Some(self.clients.as_ref().unwrap().issue(name))
    }
}

async fn ask(stream: &mut TlsStream<TcpStream>, line: &str, token: Option<&str>) -> HttpResponse {
    let request = HttpRequest { token, ..HttpRequest::new(line, "") };
    stream.write_all(&request.bytes()).await.unwrap();
    read_answer(stream).await
}

#[test]
fn tls_1_2_is_the_oldest_that_is_spoken() {
    needs_root!();
    let scene = Scene::set(None, "");
    for (version, expected) in
        [("-tls1", false), ("-tls1_1", false), ("-tls1_2", true), ("-tls1_3", true)]
    {
        let (answered, output) = scene.openssl(&[version]);
        assert_eq!(answered, expected, "{version}: {output}");
    }
}

#[test]
fn a_client_shows_a_certificate_of_the_right_authority_that_is_not_over() {
    needs_root!();
    let scene = Scene::set(Some(TestCa::new()), "");
    let issued =
        |(cert, key): Pair| ["-cert".to_owned(), text(&cert), "-key".to_owned(), text(&key)];
    let (trusted_ca, other_ca) = (scene.clients.as_ref().unwrap(), TestCa::new());
    for (what, args, expected) in [
        ("none", Vec::new(), false),
        ("another authority's", issued(other_ca.issue("mn-1")).to_vec(), false),
        ("an old one", issued(trusted_ca.issue_until("mn-1", 2002)).to_vec(), false),
        ("a good one", issued(trusted_ca.issue("mn-1")).to_vec(), true),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
            args.push(version);
            let (answered, output) = scene.openssl(&args);
            assert_eq!(answered, expected, "{what} by {version}: {output}");
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_takes_the_place_of_a_session_as_far_as_its_role_goes() {
    needs_root!();
    let names = "# Who may do what.\nmn-1.example:operate\nlook.example:read\n192.0.2.1\n";
    let mut scene = Scene::set(Some(TestCa::new()), names);
    let remove = "DELETE /zstack/v1/backup-storage/00000000000040008000000000000bad";
    for (name, read, operate) in [
        ("mn-1.example", 200, 200),
        ("look.example", 200, 403),
        ("192.0.2.1", 200, 200),
        // The CA has issued it, but the name is not listed: it needs a session as well.
        ("stranger.example", 401, 401),
    ] {
        let mut stream = scene.connect(scene.of(name)).await.unwrap();
        assert_eq!(ask(&mut stream, STORES, None).await.status, read, "{name}");
        assert_eq!(ask(&mut stream, remove, None).await.status, operate, "{name}");
        // A given session decides, also a wrong one.
        assert_eq!(ask(&mut stream, remove, Some(TOKEN)).await.status, 200, "{name}");
        assert_eq!(ask(&mut stream, STORES, Some("wrong")).await.status, 401, "{name}");
    }
    let log = scene.agent.log();
    assert!(log.contains("\"caller\":\"mn-1.example\""), "the audit names it");

    // A browser sends the certificate of its user, and the origin of the page.
    let mut stream = scene.connect(scene.of("mn-1.example")).await.unwrap();
    for (origin, status) in [("http://attacker.example", 403), ("https://localhost", 200)] {
        let headers = format!("Origin: {origin}\r\n");
        let request =
            HttpRequest { token: None, headers: &headers, ..HttpRequest::new(remove, "") };
        stream.write_all(&request.bytes()).await.unwrap();
        assert_eq!(read_answer(&mut stream).await.status, status, "{origin}");
    }

    // A name that is removed from the list has no role any more, also on an open connection.
    let mut stream = scene.connect(scene.of("mn-1.example")).await.unwrap();
    assert_eq!(ask(&mut stream, STORES, None).await.status, 200);
    fs::write(scene.agent.path("clients"), "look.example:read\n").unwrap();
    scene.agent.signal(Signal::SIGHUP);
    scene.agent.until_logged("certificates reloaded");
    assert_eq!(ask(&mut stream, STORES, None).await.status, 401);
}

/// The location of a job has the scheme of the request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_of_a_call_over_tls_has_a_location_with_https() {
    let scene = Scene::set(None, "");
    let line = format!("PUT /zstack/v1/backup-storage/image-store/{}/actions", "f".repeat(32));
    let request = HttpRequest {
        token: Some(TOKEN),
        headers: "Prefer: respond-async\r\n",
        ..HttpRequest::new(&line, r#"{"reconnectImageStoreBackupStorage":{}}"#)
    };
    let mut stream = scene.connect(None).await.unwrap();
    stream.write_all(&request.bytes()).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let location = answer.body["location"].as_str().unwrap();
    let path = location.strip_prefix("https://localhost").unwrap();
    assert!(path.starts_with("/zstack/v1/api-jobs/"), "{location}");
    let polled = ask(&mut stream, &format!("GET {path}"), None).await;
    assert!(matches!(polled.status, 202 | 503), "{polled:?}");
}

#[test]
fn a_command_speaks_tls_to_a_daemon_that_it_trusts_and_presents_its_certificate() {
    needs_root!();
    let scene = Scene::set(Some(TestCa::new()), "mn-1.example:read\n");
    let url = format!("https://localhost:{}", scene.agent.address().port());
    let (cert, key) = scene.of("mn-1.example").unwrap();
    let ca = text(&scene.servers.certificate());
    let (cert, key) = (text(&cert), text(&key));
    let client_certificate = ["--client-cert", &cert, "--client-key", &key];
    let list = |trust: &[&str]| {
        let args = [&["list", "--url", &url], trust].concat();
        let output = scene.agent.cli(&args, "");
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (listed, output) = list(&[&["--ca-file", ca.as_str()][..], &client_certificate].concat());
    assert!(listed, "{output}");
    // The client does not trust the daemon, or the daemon does not trust the client.
    let stranger = TestCa::new();
    let other = text(&stranger.certificate());
    let (listed, output) =
        list(&[&["--ca-file", other.as_str()][..], &client_certificate].concat());
    assert!(!listed && output.contains("invalid peer certificate"), "{output}");
    assert!(!list(&["--ca-file", &ca]).0);
    let (listed, output) = list(&["--ca-file", "/nowhere"]);
    assert!(!listed && output.contains("--ca-file"), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_while_a_hundred_connections_stay_open() {
    needs_root!();
    let mut scene = Scene::set(None, "");
    let server_certificate =
        |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(scene.connect(None).await.unwrap());
    }
    let first = server_certificate(&open[0]);

    scene.renew("localhost");
    scene.agent.signal(Signal::SIGHUP);
    scene.agent.until_logged("certificates reloaded");
    let second = server_certificate(&scene.connect(None).await.unwrap());
    assert_ne!(first, second);

    // The new key is missing: the daemon keeps the old certificate until it is there.
    let (cert, key) = scene.servers.issue("localhost");
    fs::copy(&cert, scene.agent.path("cert.pem")).unwrap();
    scene.agent.signal(Signal::SIGHUP);
    scene.agent.until_logged("certificate reload failed");
    assert_eq!(server_certificate(&scene.connect(None).await.unwrap()), second);
    fs::copy(&key, scene.agent.path("key.pem")).unwrap();
    // No signal announces the change this time.
    until("the third is shown", async || {
        server_certificate(&scene.connect(None).await.unwrap())
            == CertificateDer::from_pem_file(&cert).unwrap()
    })
    .await;
    for stream in &mut open {
        assert_eq!(ask(stream, STORES, Some(TOKEN)).await.status, 200);
    }
    assert!(scene.agent.terminate().0.success());
}

#[test]
fn files_that_are_of_no_use_stop_the_start_and_each_is_named() {
    needs_root!();
    let mut scene = Scene::set(Some(TestCa::new()), "mn-1\n");
    scene.agent.terminate();
    fs::write(scene.agent.path("clients"), "mn-1:root\n").unwrap();
    fs::write(scene.agent.path("key.pem"), "no key\n").unwrap();
    let output = scene.agent.run_serve_to_end();
    assert_eq!(output.status.code(), Some(64));
    let output = String::from_utf8(output.stderr).unwrap();
    for named in ["server.tls.key", "server.tls.clients_file", "line 1"] {
        assert!(output.contains(named), "{named} in {output}");
    }
}
