//! Accounts: login with a name and a password, as ZStack's clients do it, and the sessions that a
//! login opens.
//!
//! # Guarantees
//!
//! - A login with an unknown name computes a hash as one with a known name does, and has the same
//!   answer.
//! - A reload that removes an account or changes its password ends its sessions. A changed role
//!   applies to the next request.
//! - A session ends after `auth.session_ttl`, however often it is used.
//!
//! # Never
//!
//! - It never keeps, logs or shows a password or a session.

mod hash_queue;
pub(in crate::http) mod limiter;
mod password;
mod sessions;
pub(in crate::http) mod table;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::Principal;
use super::rate_limit::RequestSource;
use crate::common::{Clock, Random, Timestamp, lock_unpoisoned};
use crate::http::error::ApiError;
use crate::model::Secret;
use crate::wire::AccountLogin;
use hash_queue::HashQueue;
use limiter::AccountLoginLimiter;
use password::{NoMemory, StoredPassword};
use sessions::{AccountSessionDigest, SessionTable, session_digest};
use table::AccountTable;

/// Maximum time of a login, with its wait in the queue. It is below the 10 s that the Java SDK of
/// ZStack waits for a response.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(8);
/// Length of a session: 128 random bits in hexadecimal digits, as ZStack's.
const SESSION_CHARS: usize = 32;
/// Minimum length of the password of a new account, in characters (NIST SP 800-63B section 5.1.1).
const MIN_PASSWORD_CHARS: usize = 8;

/// The accounts, their sessions, and the limits of logins.
pub struct Accounts {
    state: Mutex<AccountState>,
    limiter: Mutex<AccountLoginLimiter>,
    queue: HashQueue,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

struct AccountState {
    table: AccountTable,
    sessions: SessionTable,
    session_ttl: Duration,
}

/// A session that a login has opened.
pub(in crate::http) struct OpenedSession {
    /// The session, which the client presents from now on.
    pub(in crate::http) session: Secret,
    /// The caller of its requests.
    pub(in crate::http) caller: Principal,
    /// The uuid of the account, which depends only on its name.
    pub(in crate::http) account_uuid: String,
    pub(in crate::http) created: Timestamp,
    pub(in crate::http) expires: Timestamp,
}

impl Accounts {
    /// Creates the accounts of a table, without sessions.
    pub fn new(
        table: AccountTable,
        session_ttl: Duration,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let state = AccountState { table, sessions: SessionTable::default(), session_ttl };
        Self {
            state: Mutex::new(state),
            limiter: Mutex::default(),
            queue: HashQueue::default(),
            clock,
            random,
        }
    }

    /// Replaces the accounts, and the duration of the sessions that open from now on. Ends the
    /// sessions of the accounts that are gone or have another password.
    pub fn replace_accounts(&self, table: AccountTable, session_ttl: Duration) {
        let mut state = lock_unpoisoned(&self.state);
        let earlier = std::mem::replace(&mut state.table, table);
        state.session_ttl = session_ttl;
        let AccountState { table, sessions, .. } = &mut *state;
        sessions.retain_accounts(|name| match (earlier.find(name), table.find(name)) {
            (Some(earlier), Some(account)) => earlier.password.is_same(&account.password),
            _ => false,
        });
    }

    /// Checks a password, and opens a session of its account.
    ///
    /// # Errors
    /// Logins are off, the name or the password is wrong, or a limit is reached.
    ///
    /// # Cancel safety
    /// Cancel safe. A hash that has started continues.
    pub(in crate::http) async fn log_in(
        &self,
        source: RequestSource,
        login: AccountLogin,
    ) -> Result<OpenedSession, ApiError> {
        let AccountLogin { account_name: name, password } = login;
        if lock_unpoisoned(&self.state).table.is_empty() {
            return Err(ApiError::LoginDisabled);
        }
        // A login without a place in the queue is not counted, because its password is not checked.
        let place = self.queue.enter(source.network()).ok_or(ApiError::LoginsBusy)?;
        if let Some(source) = source.limited {
            let mut limiter = lock_unpoisoned(&self.limiter);
            let counted = limiter.count_login(source, &name, Instant::now());
            counted.map_err(|resets_in| ApiError::TooManyLogins { resets_in })?;
        }
        let stored = self.stored_password(&name);
        let checked = stored.clone().unwrap_or_else(StoredPassword::unmatched);
        let deadline = Instant::now() + LOGIN_TIMEOUT;
        let hashing = self.queue.run(place, deadline, move || {
            debug!("password hash computed for a login");
            checked.matches(&password)
        });
        let matches = match hashing.await {
            Ok(Ok(matches)) => matches,
            Ok(Err(NoMemory)) => {
                error!("password hash not computed: the system provides no memory for it");
                return Err(ApiError::LoginsBusy);
            }
            Err(error) => {
                warn!(%error, "password hash not computed");
                return Err(ApiError::LoginsBusy);
            }
        };
        let stored = stored.filter(|_| matches).ok_or(ApiError::LoginFailed)?;
        let opened = self.open_session(&name, &stored)?;
        if let Some(source) = source.limited {
            lock_unpoisoned(&self.limiter).forget_wrong_logins(source, &name);
        }
        Ok(opened)
    }

    /// Returns the password of the account with this name.
    fn stored_password(&self, name: &str) -> Option<StoredPassword> {
        lock_unpoisoned(&self.state).table.find(name).map(|account| account.password.clone())
    }

    /// Opens a session of an account, if a reload has not removed it or changed its password since
    /// `checked` was read.
    fn open_session(
        &self,
        name: &str,
        checked: &StoredPassword,
    ) -> Result<OpenedSession, ApiError> {
        let session = HEXLOWER.encode(&self.random.bytes16());
        let (created, now) = (self.clock.now(), Instant::now());
        let mut state = lock_unpoisoned(&self.state);
        let AccountState { table, sessions, session_ttl } = &mut *state;
        let account = table
            .find(name)
            .filter(|account| account.password.is_same(checked))
            .ok_or(ApiError::LoginFailed)?;
        sessions.add(session_digest(&session), &account.name, now + *session_ttl, now);
        let ttl = i64::try_from(session_ttl.as_millis()).unwrap_or(i64::MAX);
        Ok(OpenedSession {
            session: Secret::new(session),
            caller: account.caller.clone(),
            account_uuid: account_uuid(name),
            created,
            expires: Timestamp(created.0.saturating_add(ttl)),
        })
    }

    /// Returns the caller of a session, or `None` if no login here has opened it or it has ended.
    pub(in crate::http) fn authenticate(&self, session: &str) -> Option<Principal> {
        if !is_session(session) {
            return None;
        }
        lock_unpoisoned(&self.state).find_caller(&session_digest(session))
    }

    /// Ends a session. Returns its caller, or `None` if it was not open.
    pub(in crate::http) fn log_out(&self, session: &str) -> Option<Principal> {
        if !is_session(session) {
            return None;
        }
        let digest = session_digest(session);
        let mut state = lock_unpoisoned(&self.state);
        let caller = state.find_caller(&digest);
        state.sessions.remove(&digest);
        caller
    }
}

impl AccountState {
    /// Returns the caller of an open session.
    fn find_caller(&self, session: &AccountSessionDigest) -> Option<Principal> {
        let account = self.table.find(self.sessions.find(session, Instant::now())?)?;
        Some(account.caller.clone())
    }
}

/// Returns true if the text has the form of a session of an account.
fn is_session(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == SESSION_CHARS && text.bytes().all(is_digit)
}

/// Returns the uuid of the account with this name. It is the same after a restart and on every
/// node, because ZStack's clients may keep it.
fn account_uuid(name: &str) -> String {
    let named = [b"imagestore-agent account:", name.as_bytes()].concat();
    let bytes = digest(&SHA256, &named);
    HEXLOWER.encode(bytes.as_ref().get(..SESSION_CHARS / 2).unwrap_or_default())
}

/// Returns the line of the accounts file for a new account.
///
/// # Errors
/// The name, the role or the password is not allowed, or the system has no memory for the hash.
pub fn new_account_line(
    name: &str,
    role: Option<&str>,
    password: &Secret,
    random: &dyn Random,
) -> Result<String, &'static str> {
    if !table::is_account_name(name) {
        return Err(table::NAME_PROBLEM);
    }
    if password.expose_secret().chars().count() < MIN_PASSWORD_CHARS {
        return Err("the password has fewer than 8 characters");
    }
    let hash = password::new_hash(&password::zstack_digest(password), random)
        .map_err(|NoMemory| "the system has no memory for the hash: 12 MiB")?;
    let role = role.map(|role| format!(":{role}")).unwrap_or_default();
    let line = format!("{name}:{hash}{role}");
    // The daemon reads the line with the same function.
    AccountTable::read_file(&line)
        .map_err(|lines| lines.first().map_or("the line is invalid", |(_, problem)| problem))?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::{SystemClock, SystemRandom};
    use crate::http::auth::{CallerKind, Role};

    const TTL: Duration = Duration::from_secs(7200);

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn line(name: &str, role: Option<&str>, password: &str) -> String {
        new_account_line(name, role, &secret(password), &SystemRandom::default()).unwrap()
    }

    fn accounts(text: &str) -> Accounts {
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom::default()));
        Accounts::new(AccountTable::read_file(text).unwrap(), TTL, clock, random)
    }

    async fn log_in(accounts: &Accounts, name: &str, password: &str) -> Result<String, ApiError> {
        let password = password::zstack_digest(&secret(password));
        let login = AccountLogin { account_name: name.to_owned(), password };
        let opened = accounts.log_in(RequestSource::default(), login).await?;
        Ok(opened.session.expose_secret().to_owned())
    }

    #[tokio::test]
    async fn a_session_has_the_caller_of_its_account_for_the_time_in_force_at_its_login() {
        let text = line("admin", Some("admin"), "password");
        let accounts = accounts(&text);
        let session = log_in(&accounts, "admin", "password").await.unwrap();
        accounts.replace_accounts(AccountTable::read_file(&text).unwrap(), Duration::ZERO);
        let caller = accounts.authenticate(&session).unwrap();
        assert_eq!((caller.name(), caller.role()), ("admin", Role::Admin));
        assert_eq!(caller.kind(), CallerKind::Account);
        let ended = log_in(&accounts, "admin", "password").await.unwrap();
        assert!(accounts.authenticate(&ended).is_none() && accounts.log_out(&ended).is_none());
        assert!(accounts.authenticate(&session).is_some());
    }

    #[tokio::test]
    async fn a_wrong_login_opens_no_session_and_a_text_of_another_form_is_none() {
        let text = line("admin", None, "password");
        let accounts = accounts(&text);
        for (name, password) in [("admin", "Password"), ("root", "password"), ("admin", &text)] {
            let failed = log_in(&accounts, name, password).await;
            assert!(matches!(failed, Err(ApiError::LoginFailed)), "{name}");
        }
        let session = log_in(&accounts, "admin", "password").await.unwrap();
        assert!(is_session(&session) && accounts.authenticate(&session).is_some());
        for other in [session.to_uppercase(), format!("{session}0"), format!(" {session}")] {
            assert!(accounts.authenticate(&other).is_none());
        }
        assert_eq!(accounts.log_out(&session).unwrap().name(), "admin");
        assert!(accounts.authenticate(&session).is_none());
    }

    #[tokio::test]
    async fn a_reload_ends_the_sessions_of_changed_accounts_and_changes_roles_at_once() {
        let [kept, changed, removed] =
            ["kept", "changed", "removed"].map(|name| line(name, None, "password"));
        let accounts = accounts(&format!("{kept}\n{changed}\n{removed}"));
        let mut sessions = Vec::new();
        for name in ["kept", "changed", "removed"] {
            sessions.push(log_in(&accounts, name, "password").await.unwrap());
        }
        let text = format!("{kept}:read\n{}", line("changed", None, "password"));
        accounts.replace_accounts(AccountTable::read_file(&text).unwrap(), TTL);
        assert_eq!(accounts.authenticate(&sessions[0]).unwrap().role(), Role::Read);
        assert!(sessions[1..].iter().all(|session| accounts.authenticate(session).is_none()));
        // An account that comes back does not bring its sessions back.
        let text = format!("{kept}\n{changed}\n{removed}");
        accounts.replace_accounts(AccountTable::read_file(&text).unwrap(), TTL);
        assert!(sessions[1..].iter().all(|session| accounts.authenticate(session).is_none()));
        accounts.replace_accounts(AccountTable::default(), TTL);
        assert!(accounts.authenticate(&sessions[0]).is_none());
        assert!(matches!(
            log_in(&accounts, "kept", "password").await,
            Err(ApiError::LoginDisabled)
        ));
    }

    #[tokio::test]
    async fn a_login_that_finds_no_place_does_not_count_as_a_wrong_one() {
        let accounts = accounts(&line("admin", None, "password"));
        let source = RequestSource { limited: Some([192, 0, 2, 1].into()), client: None };
        let log_in = async || {
            let password = password::zstack_digest(&secret("password"));
            let login = AccountLogin { account_name: "admin".to_owned(), password };
            accounts.log_in(source, login).await
        };
        let places = [(); 2].map(|()| accounts.queue.enter(source.network()).unwrap());
        for _ in 0..30 {
            assert!(matches!(log_in().await, Err(ApiError::LoginsBusy)));
        }
        drop(places);
        assert!(log_in().await.is_ok());
    }

    #[test]
    fn the_uuid_of_an_account_depends_on_its_name_alone() {
        assert_eq!(account_uuid("admin"), account_uuid("admin"));
        assert!(is_session(&account_uuid("admin")) && account_uuid("admin") != account_uuid("tf"));
    }

    #[test]
    fn a_new_account_has_a_valid_name_role_and_password() {
        let new = |name: &str, role, password: &str| {
            new_account_line(name, role, &secret(password), &SystemRandom::default())
        };
        assert!(new("admin", Some("read"), "12345678").unwrap().ends_with(":read"));
        assert!(new("admin", None, "ÿÿÿÿÿÿÿÿ").is_ok());
        for (name, role, password, problem) in [
            ("a:b", None, "12345678", "the name"),
            ("", None, "12345678", "the name"),
            ("admin", Some("root"), "12345678", "the role"),
            ("admin", None, "1234567", "the password"),
        ] {
            let error = new(name, role, password).unwrap_err();
            assert!(error.starts_with(problem), "{error}");
        }
    }
}
