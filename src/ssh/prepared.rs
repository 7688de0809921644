//! The preparation of a login: it acquires all that the login needs of the daemon. The rest is the
//! server's part.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PrivateKey;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::model::{Fault, Reason, SshCredentials};

use super::auth::private_key;
use super::deadline::LoginDeadline;
use super::limit::{LoginClass, ServerPermit};
use super::phase::{LoginPhase, limit_phase, time_phase};
use super::session::resolve::{self, ResolvedServer};
use super::verifier::{LoginRequest, Verifier, VerifierInner};

/// A login with its key and the addresses of its server, or the fault of its definition. It still
/// needs the permit for its server.
#[derive(Debug)]
pub struct ResolvedLogin {
    pub(super) login: LoginRequest,
    pub(super) ready: Result<ReadyLogin, Fault>,
}

/// A login with all that it needs of the daemon. Dropping it releases its permit.
#[derive(Debug)]
pub struct PreparedLogin {
    pub(super) resolved: ResolvedLogin,
    /// `None` if a fault prevents the login.
    pub(super) permit: Option<ServerPermit>,
}

impl ResolvedLogin {
    /// Returns the server of the login, or `None` if a fault prevents the login.
    pub fn server(&self) -> Option<LoginServer> {
        self.ready.as_ref().ok().map(|ready| ready.server)
    }

    /// Adds the permit that [`Verifier::acquire_permit`] returned for this login.
    pub fn with_permit(self, permit: Option<ServerPermit>) -> PreparedLogin {
        PreparedLogin { resolved: self, permit }
    }
}

/// The server of a login. All names and addresses of this host are one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoginServer {
    /// The first address of another host, or `None` for this host.
    pub other_host: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

/// The needs of a login, acquired.
#[derive(Debug)]
pub(super) struct ReadyLogin {
    pub(super) key: Option<Arc<PrivateKey>>,
    pub(super) server: LoginServer,
    /// The allowed addresses of the server, at least one.
    pub(super) addresses: Vec<SocketAddr>,
    /// Time that the name lookup took.
    pub(super) resolve: Duration,
    /// Time that opening the private key took. The name lookup may have run at the same time.
    pub(super) key_opening: Duration,
}

impl Verifier {
    /// Acquires what a login needs of the daemon: its key and addresses as
    /// [`Verifier::resolve_login`] does, and then the permit for the server.
    ///
    /// # Errors
    /// Those of [`Verifier::resolve_login`] and [`Verifier::acquire_permit`].
    ///
    /// # Cancel safety
    /// Dropping the prepared login releases the permit, and dropping the future does too.
    pub async fn prepare_login(
        &self,
        login: LoginRequest,
        class: LoginClass,
        deadline: LoginDeadline,
    ) -> Result<PreparedLogin, Fault> {
        let resolved = self.resolve_login(login, deadline).await?;
        let permit = self.acquire_permit(&resolved, class, deadline.at()).await?;
        Ok(resolved.with_permit(permit))
    }

    /// Opens the private key and looks up the addresses of the server. Ends by `deadline`. Neither
    /// waits for the server, so no wait here is the server's time.
    ///
    /// A fault of the store's login, such as a name that does not resolve, is not returned here.
    /// The resolved login carries it, and [`Verifier::verify`] returns it.
    ///
    /// # Errors
    /// Returns `agent_busy` if too many encrypted keys are being opened, or if the daemon is short
    /// of a resource. The facts are `host` and `port`, and those of the limit.
    ///
    /// # Cancel safety
    /// Two things end a little later on the runtime's blocking pool: a name lookup, and the
    /// decryption of a key.
    pub async fn resolve_login(
        &self,
        login: LoginRequest,
        deadline: LoginDeadline,
    ) -> Result<ResolvedLogin, Fault> {
        let span = tracing::info_span!("ssh_prepare", address = %login.address);
        let resolved = self.acquire_key_and_addresses(&login, deadline).instrument(span).await;
        match resolved {
            Err(fault) if fault.reason() == Reason::AgentBusy => Err(at_server(fault, &login)),
            ready => Ok(ResolvedLogin { login, ready }),
        }
    }

    /// Waits for the permit for the server of a login. Returns `None` if a fault prevents the
    /// login. A free permit is granted also if `until` has passed.
    ///
    /// # Errors
    /// Returns `agent_busy` if other logins on the same server did not end by `until`. The facts
    /// are `host` and `port`, and those of the limit.
    ///
    /// # Cancel safety
    /// The login loses its place in the queue if the future is dropped.
    pub async fn acquire_permit(
        &self,
        resolved: &ResolvedLogin,
        class: LoginClass,
        until: Instant,
    ) -> Result<Option<ServerPermit>, Fault> {
        let ResolvedLogin { login, ready } = resolved;
        let Ok(ready) = ready else { return Ok(None) };
        let limiter = &self.inner.login_limiter;
        // There is at least one address.
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, ready.server.port));
        let server = (ready.server, ready.addresses.first().copied().unwrap_or(any));
        let permit = limiter.acquire(server, class, &login.username, until).await;
        permit.map(Some).map_err(|fault| at_server(fault, login))
    }

    async fn acquire_key_and_addresses(
        &self,
        login: &LoginRequest,
        deadline: LoginDeadline,
    ) -> Result<ReadyLogin, Fault> {
        let VerifierInner { settings, allowed_targets, .. } = &*self.inner;
        let now = Instant::now();
        let own = (settings.resolve_timeout, "ssh.resolve_timeout");
        let limit = deadline.limit_phase(own, now, deadline.waited(now, Duration::ZERO));
        let resolving = resolve::resolve_address(&login.address, allowed_targets, limit.until());
        let resolving = limit_phase(LoginPhase::Resolve, limit, resolving);
        let (key, resolved) = join_needs(self.open_key(login, deadline), resolving).await?;
        let (key, key_opening) = key.unzip();
        let (ResolvedServer { addresses, is_this_host }, resolve) = resolved;
        let first = addresses.first().map(|address| address.ip().to_canonical());
        let server = LoginServer {
            other_host: first.filter(|_| !is_this_host),
            port: login.address.port.get(),
        };
        let key_opening = key_opening.unwrap_or_default();
        Ok(ReadyLogin { key, server, addresses, resolve, key_opening })
    }

    /// Opens the private key of the login, if there is one. Returns it with the time that this
    /// took.
    async fn open_key(
        &self,
        login: &LoginRequest,
        deadline: LoginDeadline,
    ) -> Result<Option<(Arc<PrivateKey>, Duration)>, Fault> {
        let SshCredentials { private_key, passphrase, .. } = &login.credentials;
        if login.credentials.is_empty() {
            let details = "the store has neither a password nor a private key";
            return Err(Fault::new(Reason::MethodNotOffered, details));
        }
        let Some(text) = private_key else { return Ok(None) };
        let key_permits = &self.inner.key_permits;
        let parsing = private_key::open_key(text, passphrase.as_ref(), key_permits, deadline);
        Ok(Some(time_phase(LoginPhase::Key, parsing).await?.0))
    }
}

/// Waits for the key of a login and for its addresses. A fault of the key is returned at once, and
/// in place of one of the addresses: an unusable key needs no server to be rejected.
async fn join_needs<K, A>(
    opening: impl Future<Output = Result<K, Fault>>,
    resolving: impl Future<Output = Result<A, Fault>>,
) -> Result<(K, A), Fault> {
    let (key, resolved) = tokio::try_join!(opening, async { Ok(resolving.await) })?;
    Ok((key, resolved?))
}

/// Adds the server of a login to its fault.
pub(super) fn at_server(fault: Fault, login: &LoginRequest) -> Fault {
    fault
        .with_detail("host", login.address.hostname.as_str())
        .with_detail("port", login.address.port.get())
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::num::NonZeroU16;

    use super::*;
    use crate::model::{Secret, SshAddress};
    use crate::settings::Settings;
    use crate::ssh::EvidenceScope;

    /// Maximum size of the futures of one login in bytes. Each store may have one at a time, and
    /// the futures around it have copies of it on the stack of a thread while they are created.
    /// They have 6 and 16 KiB in a debug build. The rest is for later versions of the SSH library.
    const MAX_FUTURE_BYTES: usize = 24 << 10;

    #[test]
    fn the_futures_of_a_login_are_small() {
        let verifier = Verifier::new(&Settings::built_in().ssh);
        let deadline = LoginDeadline::for_attempt(Duration::ZERO);
        let login = LoginRequest {
            address: SshAddress {
                hostname: "localhost".parse().unwrap(),
                port: NonZeroU16::new(22).unwrap(),
            },
            username: "u".into(),
            credentials: SshCredentials::password(Secret::new("hunter2".into())),
            pinned: None,
            given_fingerprints: Vec::new(),
            evidence: EvidenceScope::Full(None),
        };
        let ready = Err(Fault::new(Reason::KeyUnusable, "damaged"));
        let prepared = ResolvedLogin { login: login.clone(), ready }.with_permit(None);
        let preparing = size_of_val(&verifier.prepare_login(login, LoginClass::Attempt, deadline));
        let verifying = size_of_val(&verifier.verify(prepared, deadline));
        let sizes = format!("{preparing} bytes to prepare a login, {verifying} to verify it");
        assert!(preparing.max(verifying) <= MAX_FUTURE_BYTES, "{sizes}");
    }

    async fn answered_later<T>(answer: T) -> T {
        tokio::task::yield_now().await;
        answer
    }

    #[tokio::test]
    async fn an_unusable_key_waits_for_no_name_service_and_precedes_its_fault() {
        let unusable = || Err::<(), _>(Fault::new(Reason::KeyUnusable, "damaged"));
        let unknown = || Err::<(), _>(Fault::new(Reason::NameNotFound, "no such name"));
        let fault = join_needs(answered_later(unusable()), pending::<Result<(), Fault>>()).await;
        assert_eq!(fault.unwrap_err().reason(), Reason::KeyUnusable);
        let fault = join_needs(answered_later(unusable()), ready(unknown())).await;
        assert_eq!(fault.unwrap_err().reason(), Reason::KeyUnusable);
        let fault = join_needs(answered_later(Ok(())), ready(unknown())).await;
        assert_eq!(fault.unwrap_err().reason(), Reason::NameNotFound);
        assert_eq!(join_needs(ready(Ok(1)), answered_later(Ok(2))).await, Ok((1, 2)));
    }
}
