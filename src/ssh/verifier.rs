//! One login check, from the hostname to the server's decision. Every phase starts with a deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::common::IpAllowlist;
use crate::model::{
    Fault, HostEvidence, HostIdentity, HostKey, Reason, SshAddress, SshCredentials, UnverifiedHost,
};
use crate::settings;

use super::auth::method::AuthMethod;
use super::auth::private_key;
use super::auth::{self, AuthMaterial};
use super::deadline::{LoginDeadline, PhaseLimit};
use super::host::local_keys::LocalHostKeys;
use super::host::{LocalHost, MarkerLocation, verify_same_host};
use super::limit::{LoginEnd, LoginLimiter, ServerPermit};
use super::mask::quote_masked;
use super::phase::{LoginPhase, PhaseDurations, limit_phase, time_phase};
use super::prepared::{PreparedLogin, ReadyLogin, ResolvedLogin, at_server};
use super::session::algorithms::SshAlgorithms;
use super::session::dial;
use super::session::disconnect::PendingDisconnects;
use super::session::host_key::HostKeyCheck;
use super::session::{SshSession, connect_with_expected_key};

/// A login to check.
#[derive(Clone, Debug)]
pub struct LoginRequest {
    /// Address of the server.
    pub address: SshAddress,
    /// User that logs in.
    pub username: String,
    /// Credentials of the user.
    pub credentials: SshCredentials,
    /// The host key that the server must have, if one is pinned.
    pub pinned: Option<HostKey>,
    /// Fingerprints given with the store, in the format of `ssh-keygen -l`. Without a pinned key,
    /// the server must have the key of one of them.
    pub given_fingerprints: Vec<String>,
    /// Evidence that the server is this node, to collect if `ssh.prove_host` is on.
    pub evidence: EvidenceScope,
}

/// Evidence to collect from the host behind a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvidenceScope {
    /// All evidence, including the store's marker if its location is given.
    Full(Option<MarkerLocation>),
    /// The host key only, nothing over SFTP. An earlier login found this obstacle to SFTP. It is
    /// the result again if the host key is no evidence.
    HostKeyOnly(UnverifiedHost),
}

/// Result of a successful check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLogin {
    /// The server's key, to be pinned if the policy pins keys.
    pub host_key: HostKey,
    /// The methods that the server accepted, in order. There are several if it required several.
    pub methods: Vec<AuthMethod>,
    /// The address that was dialled.
    pub peer: SocketAddr,
    /// The result of the check that the server is this node.
    pub host_identity: HostIdentity,
    /// The duration of each phase.
    pub phases: PhaseDurations,
}

/// Checks logins by the rules of `[ssh]`. It is cheap to clone, and checks run concurrently.
#[derive(Clone, Debug)]
pub struct Verifier {
    pub(super) inner: Arc<VerifierInner>,
}

#[derive(Debug)]
pub(super) struct VerifierInner {
    pub(super) settings: settings::SshSettings,
    pub(super) allowed_targets: IpAllowlist,
    algorithms: SshAlgorithms,
    /// Permits for opening private keys.
    pub(super) key_permits: Arc<Semaphore>,
    pub(super) login_limiter: LoginLimiter,
    local_host: LocalHost,
    disconnects: PendingDisconnects,
}

impl Verifier {
    /// Creates a verifier with these settings. A name in `ssh.legacy` that is not an algorithm of
    /// this build is logged as a warning and ignored.
    pub fn new(settings: &settings::SshSettings) -> Self {
        let (algorithms, unknown) = SshAlgorithms::new(&settings.legacy);
        if !unknown.is_empty() {
            tracing::warn!(?unknown, "unknown algorithms in ssh.legacy ignored");
        }
        let key_permits = Arc::new(Semaphore::new(private_key::MAX_CONCURRENT_KEY_OPENINGS));
        Self {
            inner: Arc::new(VerifierInner {
                settings: settings.clone(),
                allowed_targets: IpAllowlist::new(&settings.allowed_targets),
                algorithms,
                key_permits,
                login_limiter: LoginLimiter::default(),
                local_host: LocalHost::this_host(),
                disconnects: PendingDisconnects::default(),
            }),
        }
    }

    /// Logs in and returns the evidence of the server. Ends by `deadline`. The disconnect is sent
    /// afterwards, and only [`Verifier::finish_disconnects`] waits for it. A deadline that began
    /// before the preparation includes the waits of the preparation.
    ///
    /// # Errors
    /// Returns a fault with one of the contract's SSH reasons. The facts are `host`, `port`,
    /// `phase`, `milliseconds` (spent in that phase), `address` (once one was dialled), and those
    /// of the reason. With `host_key_changed` and `host_key_unknown` the fact `offeredKey` holds
    /// the server's key, so that an operator can accept it. A timeout has `givenMilliseconds`, and
    /// becomes `agent_busy` if a wait of the preparation shortened that time.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection and ends the task in which russh runs it. The
    /// reading of this node's own host keys ends a little later on the runtime's blocking pool.
    pub async fn verify(
        &self,
        prepared: PreparedLogin,
        deadline: LoginDeadline,
    ) -> Result<VerifiedLogin, Fault> {
        let PreparedLogin { resolved: ResolvedLogin { login, ready }, permit } = prepared;
        let span = tracing::info_span!("ssh_check", address = %login.address);
        let checking = async {
            let outcome = self.check_login(&login, ready?, permit, deadline).await;
            if let Ok(VerifiedLogin { methods, peer, phases, .. }) = &outcome {
                let methods = || methods.iter().map(|method| method.as_str()).collect::<Vec<_>>();
                tracing::debug!(%peer, methods = ?methods(), ?phases, "login verified");
            }
            outcome
        };
        checking.instrument(span).await.map_err(|fault| at_server(fault, &login))
    }

    /// Waits until the disconnects of all finished logins are sent, at most 255 ms. Later logins
    /// are checked as before.
    ///
    /// # Cancel safety
    /// The disconnects continue without this future.
    pub async fn finish_disconnects(&self) {
        self.inner.disconnects.wait_all().await;
    }

    async fn check_login(
        &self,
        login: &LoginRequest,
        ready: ReadyLogin,
        permit: Option<ServerPermit>,
        deadline: LoginDeadline,
    ) -> Result<VerifiedLogin, Fault> {
        let ReadyLogin { key, addresses, resolve, key_opening, .. } = ready;
        let release = |end| permit.into_iter().for_each(|permit| permit.release(end));
        // The key and the addresses are acquired at the same time.
        let waited = deadline.waited(Instant::now(), resolve.max(key_opening));
        let limit = |own| deadline.limit_phase(own, Instant::now(), waited);
        let (mut session, reached) = match self.connect(login, &addresses, limit).await {
            Ok(connected) => connected,
            Err(fault) => {
                release(LoginEnd::of_fault(&fault));
                return Err(fault);
            }
        };
        let material = AuthMaterial {
            username: &login.username,
            key,
            password: login.credentials.password.as_ref(),
            rsa_sha1: self.inner.algorithms.rsa_sha1(),
        };
        let authenticating = async {
            let limit = limit((self.inner.settings.auth_timeout, "ssh.auth_timeout"));
            let logging_in = auth::log_in(&mut session, &material, limit.until());
            let logged_in = self.log_in_and_read_local_keys(logging_in, limit, deadline.at()).await;
            // The server has decided. The remaining work is not a login, so it needs no permit.
            release(match &logged_in {
                Ok(_) => LoginEnd::Answered,
                Err(fault) => LoginEnd::of_fault(fault),
            });
            let ((methods, authentication), local_keys) = logged_in?;
            // russh does not finish the key exchange of a new connection without checking the key.
            let no_host_key =
                || Fault::new(Reason::HostKeyUnknown, "the server presented no host key");
            let host_key = session.host_key().ok_or_else(no_host_key)?;
            let proving = self.verify_host(
                &session,
                &host_key,
                local_keys.as_ref(),
                &login.evidence,
                deadline.at(),
                |text| quote_masked(text, material.password),
            );
            let (host_identity, proof_duration) = time_phase(LoginPhase::Proof, proving).await?;
            let phases = PhaseDurations {
                resolve,
                connect: reached.connect,
                handshake: reached.handshake,
                authentication,
                proof: proof_duration,
            };
            Ok(VerifiedLogin { host_key, methods, peer: reached.peer, host_identity, phases })
        };
        let outcome = authenticating.await.map_err(|fault| with_peer(fault, reached.peer));
        self.inner.disconnects.schedule(session);
        outcome
    }

    /// Connects to one of the addresses and accepts its host key.
    async fn connect(
        &self,
        login: &LoginRequest,
        addresses: &[SocketAddr],
        limit_phase_of: impl Fn((Duration, &'static str)) -> PhaseLimit,
    ) -> Result<(SshSession, ReachedServer), Fault> {
        let VerifierInner { settings, algorithms, .. } = &*self.inner;
        let limit = limit_phase_of((settings.connect_timeout, "ssh.connect_timeout"));
        let dialling = dial::dial(addresses, settings.connect_timeout, limit.until());
        let ((tcp, peer), connect) = limit_phase(LoginPhase::Connect, limit, dialling).await?;
        let expected = HostKeyCheck {
            policy: settings.host_key_policy,
            pinned: login.pinned.clone(),
            given_fingerprints: login.given_fingerprints.clone(),
        };
        let limit = limit_phase_of((settings.handshake_timeout, "ssh.handshake_timeout"));
        let connecting = connect_with_expected_key(
            tcp,
            peer,
            algorithms,
            &expected,
            login.credentials.password.as_ref(),
            (settings.connect_timeout, limit.until()),
        );
        let (session, handshake) = limit_phase(LoginPhase::Handshake, limit, connecting)
            .await
            .map_err(|fault| with_peer(fault, peer))?;
        Ok((session, ReachedServer { peer, connect, handshake }))
    }

    /// Logs in and reads this node's own host keys concurrently, if `ssh.prove_host` is on.
    async fn log_in_and_read_local_keys<T>(
        &self,
        logging_in: impl Future<Output = Result<T, Fault>>,
        limit: PhaseLimit,
        deadline: Instant,
    ) -> Result<((T, Duration), Option<LocalHostKeys>), Fault> {
        let logging_in = limit_phase(LoginPhase::Authentication, limit, logging_in);
        if !self.inner.settings.prove_host {
            return Ok((logging_in.await?, None));
        }
        // A hanging key directory must not fail the login. Other evidence exists without its keys.
        let reading = LocalHostKeys::read_all(deadline);
        let (logged_in, local_keys) = tokio::join!(logging_in, reading);
        Ok((logged_in?, Some(local_keys)))
    }

    async fn verify_host(
        &self,
        session: &SshSession,
        key: &HostKey,
        local_keys: Option<&LocalHostKeys>,
        evidence: &EvidenceScope,
        deadline: Instant,
        quote: impl Fn(&str) -> String,
    ) -> Result<HostIdentity, Fault> {
        match (local_keys, evidence) {
            (None, _) => Ok(HostIdentity::NotChecked),
            (Some(local_keys), EvidenceScope::Full(marker)) => {
                verify_same_host(
                    session,
                    key,
                    local_keys,
                    &self.inner.local_host,
                    marker.as_ref(),
                    deadline,
                    quote,
                )
                .await
            }
            (Some(local_keys), EvidenceScope::HostKeyOnly(_)) if local_keys.contains(key) => {
                Ok(HostIdentity::verified_by(HostEvidence::HostKey))
            }
            (Some(_), EvidenceScope::HostKeyOnly(earlier)) => {
                Ok(HostIdentity::Unverified(earlier.clone()))
            }
        }
    }
}

/// A server whose host key was accepted.
struct ReachedServer {
    peer: SocketAddr,
    connect: Duration,
    handshake: Duration,
}

fn with_peer(fault: Fault, peer: SocketAddr) -> Fault {
    fault.with_detail("address", peer.ip().to_string())
}
