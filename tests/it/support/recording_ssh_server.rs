//! An SSH server in this process that accepts every password and records it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::{HashAlg, decode_secret_key};
use russh::server::{Auth, Config, Handler};
use russh::{Error, MethodKind, MethodSet};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::scripted_ssh_server::serve;
use super::sshd::KeyPair;

/// A server on a free port of 127.0.0.1, with a host key of its own. It stops when dropped.
pub(crate) struct RecordingSshServer {
    pub(crate) address: SocketAddr,
    /// Fingerprint of its host key, as `ssh-keygen -l` prints it.
    pub(crate) fingerprint: String,
    passwords: Arc<Mutex<Vec<String>>>,
    _server: JoinSet<()>,
}

impl RecordingSshServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let key = decode_secret_key(&KeyPair::generate("ed25519", "").private, None).unwrap();
        let fingerprint = key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let config = Arc::new(Config {
            keys: vec![key],
            methods: MethodSet::from(&[MethodKind::Password][..]),
            auth_rejection_time: Duration::ZERO,
            ..Config::default()
        });
        let passwords = Arc::default();
        let mut server = JoinSet::new();
        server.spawn(serve(listener, config, Recorder { passwords: Arc::clone(&passwords) }));
        Self { address, fingerprint, passwords, _server: server }
    }

    /// Returns the passwords that clients have sent so far.
    pub(crate) fn passwords(&self) -> Vec<String> {
        self.passwords.lock().unwrap().clone()
    }
}

#[derive(Clone)]
struct Recorder {
    passwords: Arc<Mutex<Vec<String>>>,
}

impl Handler for Recorder {
    type Error = Error;

    async fn auth_password(&mut self, _: &str, password: &str) -> Result<Auth, Error> {
        self.passwords.lock().unwrap().push(password.to_owned());
        Ok(Auth::Accept)
    }
}
