//! An SSH server in this process whose part of the login is scripted, for behaviour that no sshd
//! has.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use russh::keys::{Algorithm, decode_secret_key};
use russh::server::{self, Auth, Config, Handler, Response};
use russh::{Error, MethodKind, MethodSet, Preferred};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::sshd::KeyPair;

/// A round of questions; each has a flag that is true if the answer may be shown.
type Round = &'static [(&'static str, bool)];

/// The server's part of a login.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Script {
    /// Accepts passwords, and of RSA keys only signatures with SHA-1.
    AcceptsPasswords,
    /// Asks these rounds, accepts any answers, and then accepts the login.
    Asks(&'static [Round]),
    /// Asks this round without end.
    AsksForEver(Round),
    /// Never decides.
    NeverDecides,
    /// Closes the connection.
    Disconnects,
    /// Sends a banner, and closes the connection when it gets the password.
    SaysAndCloses(&'static str),
    /// Sends a banner, and rejects the password.
    SaysAndRejects(&'static str),
    /// Sends these texts in a round without a prompt, and rejects the login.
    TellsAndRejects { name: &'static str, instruction: &'static str },
}

/// A scripted server on a free port of 127.0.0.1. It stops when dropped.
#[derive(Debug)]
pub(crate) struct ScriptedSshServer {
    pub(crate) address: SocketAddr,
    answers: Arc<Mutex<Vec<String>>>,
    _server: JoinSet<()>,
}

impl ScriptedSshServer {
    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let methods = match script {
            Script::AcceptsPasswords => &[MethodKind::PublicKey, MethodKind::Password][..],
            Script::SaysAndCloses(_) | Script::SaysAndRejects(_) => &[MethodKind::Password],
            _ => &[MethodKind::KeyboardInteractive],
        };
        let key = KeyPair::generate("ed25519", "").private;
        let config = Arc::new(Config {
            keys: vec![decode_secret_key(&key, None).unwrap()],
            methods: MethodSet::from(methods),
            auth_rejection_time: std::time::Duration::ZERO,
            preferred: Preferred {
                // The server also announces them as the accepted signatures.
                key: Cow::Borrowed(&[Algorithm::Ed25519, Algorithm::Rsa { hash: None }]),
                ..Preferred::DEFAULT
            },
            ..Config::default()
        });
        let answers = Arc::default();
        let mut server = JoinSet::new();
        let talk = AuthHandler { script, round: 0, answers: Arc::clone(&answers) };
        server.spawn(serve(listener, config, talk));
        Self { address, answers, _server: server }
    }

    /// Returns the answers of clients so far.
    pub(crate) fn answers(&self) -> Vec<String> {
        self.answers.lock().unwrap().clone()
    }
}

/// Serves each connection with a copy of the handler.
pub(super) async fn serve<H>(listener: TcpListener, config: Arc<Config>, handler: H)
where
    H: Handler<Error = Error> + Clone + Send + 'static,
{
    let mut sessions = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (config, handler) = (Arc::clone(&config), handler.clone());
        sessions.spawn(async move {
            if let Ok(session) = server::run_stream(config, tcp, handler).await {
                // The client judges the end of the session.
                let _ = session.await;
            }
        });
    }
}

#[derive(Clone)]
struct AuthHandler {
    script: Script,
    round: usize,
    answers: Arc<Mutex<Vec<String>>>,
}

impl Handler for AuthHandler {
    type Error = Error;

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, Error> {
        Ok(match self.script {
            Script::AcceptsPasswords => Auth::Accept,
            Script::SaysAndCloses(_) => return Err(Error::Disconnect),
            _ => Auth::reject(),
        })
    }

    async fn authentication_banner(&mut self) -> Result<Option<String>, Error> {
        Ok(match self.script {
            Script::SaysAndCloses(text) | Script::SaysAndRejects(text) => Some(text.to_owned()),
            _ => None,
        })
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Error> {
        for answer in response.into_iter().flatten() {
            self.answers.lock().unwrap().push(String::from_utf8(answer.to_vec()).unwrap());
        }
        let round = match self.script {
            Script::AcceptsPasswords => return Ok(Auth::reject()),
            Script::Asks(rounds) => rounds.get(self.round).copied(),
            Script::AsksForEver(round) => Some(round),
            Script::NeverDecides => std::future::pending().await,
            Script::Disconnects => return Err(Error::Disconnect),
            Script::TellsAndRejects { .. } if self.round > 0 => return Ok(Auth::reject()),
            Script::TellsAndRejects { name, instruction } => {
                self.round += 1;
                return Ok(Auth::Partial {
                    name: name.into(),
                    instructions: instruction.into(),
                    prompts: [].as_slice().into(),
                });
            }
            // These servers offer no conversation.
            _ => return Ok(Auth::reject()),
        };
        self.round += 1;
        Ok(round.map_or(Auth::Accept, |round| Auth::Partial {
            name: "".into(),
            instructions: "".into(),
            prompts: round.iter().map(|(text, echo)| (Cow::Borrowed(*text), *echo)).collect(),
        }))
    }
}
