//! The text of each request error: its code, its details and its remedy.

use super::api::agent_protocol::MAX_TASK_UUID_BYTES;
use super::auth::Role;
use super::auth::accounts::limiter::MAX_WRONG_LOGINS;
use super::auth::rate_limit::{MAX_EVENTS_PER_WINDOW, RATE_WINDOW};
use super::error::ApiError;
use crate::catalog::Language;
use crate::management::UrlError;
use crate::model::Reason;
use crate::wire::{ErrorCode, InvalidBody};

/// The path of an update in its body.
const UPDATE_PATH: &str = "$.updateImageStoreBackupStorage";

/// The remedy for an address or URL outside `server.agent_allow`.
const AGENT_ALLOW_REMEDY: &str = "add the network of the management node to server.agent_allow";

tokio::task_local! {
    /// Handlers return errors from many places that do not know the settings. The middleware
    /// therefore sets the language for the future that handles a request.
    static ERROR_LANGUAGE: Language;
}

/// Runs a future whose errors have this language.
pub(super) async fn with_error_language<F: Future>(language: Language, future: F) -> F::Output {
    ERROR_LANGUAGE.scope(language, future).await
}

/// Returns the language of the errors of the present request. Outside a request it is English.
pub(super) fn error_language() -> Language {
    ERROR_LANGUAGE.try_with(|language| *language).unwrap_or(Language::English)
}

impl ApiError {
    /// Returns the error object of the response.
    pub(super) fn error_code(&self, language: Language) -> ErrorCode {
        let error = self.plain_error_code(language);
        let error = if self.is_translatable() { error.translated(language) } else { error };
        error.with_remedy_in_details()
    }

    /// Returns true if the texts of [`ApiError::plain_error_code`] are English and may be
    /// translated. Clients compare those of an unknown job and of a signature, and those of faults
    /// have their language already.
    fn is_translatable(&self) -> bool {
        let is_compared = matches!(self, Self::UnknownJob | Self::SignatureRefused(_));
        !is_compared && self.reason().is_none()
    }

    fn plain_error_code(&self, language: Language) -> ErrorCode {
        match self {
            Self::InvalidUuid => remediable_error(
                "SYS.1007",
                "the uuid in the path is not 32 lower-case hexadecimal digits",
                "use the uuid as the inventory shows it, without dashes",
            ),
            Self::InvalidParameter(invalid) => remediable_error(
                "SYS.1007",
                invalid.to_string(),
                "correct or omit the parameter and send the request again",
            )
            .with_opaque("parameter", invalid.parameter()),
            Self::InvalidBody(InvalidBody::Field(field)) => remediable_error(
                "SYS.1007",
                field.to_string(),
                "correct the field and send the request again",
            )
            .with_opaque("path", field.path.as_str())
            .with_opaque("expected", field.expected.as_str()),
            Self::InvalidBody(
                bad @ (InvalidBody::NotJson { .. }
                | InvalidBody::RepeatedKey { .. }
                | InvalidBody::NotAnObject
                | InvalidBody::NoAction(_)),
            ) => {
                remediable_error(
                    "SYS.1007",
                    bad.to_string(),
                    "correct the body and send the request again",
                )
            }
            Self::InvalidBody(bad @ InvalidBody::SeveralActions(_)) => {
                remediable_error("SYS.1007", bad.to_string(), "send one request for each action")
            }
            Self::MalformedBody => remediable_error(
                "SYS.1007",
                "the body ended early, or its framing does not match its headers",
                "send exactly Content-Length bytes, or well-formed chunks",
            ),
            Self::InvalidHeader { name, expected } => remediable_error(
                "SYS.1007",
                format!("the header {name} is invalid: expected {expected}, once"),
                "correct the header, or omit it",
            )
            .with_opaque("header", *name)
            .with_opaque("expected", *expected),
            Self::JobIdTaken => remediable_error(
                "SYS.1007",
                "the uuid in X-Job-UUID belongs to another request",
                "send a new uuid with each request; the same request may be repeated with its uuid",
            ),
            // ZStack's words, which its clients may compare.
            Self::UnknownJob => remediable_error(
                "SYS.1003",
                "the job has been expired, or has never existed",
                "read the store: its status and its history show what happened",
            ),
            Self::TooManyJobGuesses { .. } => {
                let seconds = RATE_WINDOW.as_secs();
                let details = format!(
                    "this address, or its IPv6 /64 network, asked for more than \
                     {MAX_EVENTS_PER_WINDOW} unknown jobs within {seconds} s"
                );
                let remedy = "wait for the time in Retry-After, and poll the location of the job";
                remediable_error("SYS.1007", details, remedy)
            }
            Self::InvalidHost => remediable_error(
                "SYS.1007",
                "the request does not have exactly one valid Host header",
                "send one Host header with a name or an address, and an optional port",
            ),
            Self::HostNotAllowed => remediable_error(
                "SYS.1007",
                "the request names a host that is not allowed",
                "use an IP address or localhost, or add the name to server.host_names",
            ),
            Self::CrossSiteRequest => remediable_error(
                "ID.1002",
                "a web page of another site sent this request, and requests without a session are \
                 accepted only from the origin of the daemon",
                "send the request with a session, or from a program that sends no Origin and no \
                 Sec-Fetch-Site header",
            )
            .with_opaque("rule", "cross_site_request"),
            Self::MissingToken => remediable_error(
                "ID.1001",
                "the request does not have exactly one valid Authorization header",
                "send Authorization: OAuth <session> with a token from auth.tokens_file or the session \
                 of a login, or ZStack <access key id>:<signature>",
            ),
            Self::UnknownSession => remediable_error(
                "ID.1001",
                "the session is unknown",
                "log in again, or compare the token with auth.tokens_file, and reload the daemon after a \
                 change",
            ),
            Self::SignatureRefused(refusal) => refusal.error_code(),
            Self::TooManyAuthFailures { .. } => {
                let seconds = RATE_WINDOW.as_secs();
                let details = format!(
                    "this address, or its IPv6 /64 network, sent more than {MAX_EVENTS_PER_WINDOW} \
                     unknown sessions or wrong signatures within {seconds} s"
                );
                let remedy = "wait for the time in Retry-After, and check the token or the access key";
                remediable_error("SYS.1007", details, remedy)
            }
            Self::SessionUnchecked(fault) if fault.reason() == Reason::ManagementUnreachable => {
                ErrorCode::from_fault("SYS.1012", fault, language)
            }
            Self::SessionUnchecked(fault) => ErrorCode::from_fault("SYS.1006", fault, language),
            Self::OwnQuestion => remediable_error(
                "SYS.1007",
                "this is a question of this daemon to the management node about a session: \
                 auth.session_check_url leads back to the daemon",
                "set auth.session_check_url to an address of the management node",
            ),
            Self::LoginFailed => remediable_error(
                "ID.1000",
                "wrong account name or password",
                "use an account of auth.accounts_file, and reload the daemon after a change of it",
            ),
            Self::LoginDisabled => remediable_error(
                "ID.1000",
                "no account may log in to this daemon",
                "set auth.accounts_file with a line of imagestore-agent account add, and reload the \
                 daemon",
            ),
            Self::TooManyLogins { .. } => {
                let seconds = RATE_WINDOW.as_secs();
                let details = format!(
                    "this address, or its IPv6 /64 network, sent more than {MAX_EVENTS_PER_WINDOW} \
                     logins within {seconds} s, or more than {MAX_WRONG_LOGINS} wrong ones for this \
                     name"
                );
                let remedy = "wait for the time in Retry-After, check the password, and keep the \
                              session of a login";
                remediable_error("SYS.1007", details, remedy)
            }
            Self::ProbeTooSoon { .. } => remediable_error(
                "SYS.1007",
                "a caller has requested a probe of this store within monitor.interval",
                "wait for the time in Retry-After, or read the health of the store, which shows the \
                 result of the newest probe",
            ),
            Self::LoginsBusy => remediable_error(
                "SYS.1007",
                "the daemon checks one password at a time, and others wait for it",
                "send the login again after the time in Retry-After",
            ),
            Self::NetworkNotAllowed(ip) => {
                let ip = ip.to_canonical().to_string();
                let details = format!("the address {ip} may not use the agent protocol");
                remediable_error("ID.1002", details, AGENT_ALLOW_REMEDY).with_opaque("address", ip)
            }
            Self::UrlNotAllowed { name, bad } => {
                let details = format!("the daemon does not call the URL in {name}: {bad}");
                match bad {
                    UrlError::NotHttp => {
                        let remedy = "send an http:// URL of the management node";
                        remediable_error("SYS.1007", details, remedy)
                    }
                    _ => remediable_error("ID.1002", details, AGENT_ALLOW_REMEDY),
                }
            }
            Self::HookNotAllowed(bad) => {
                let details = format!("the daemon does not call the URL in X-Web-Hook: {bad}");
                let remedy = match bad {
                    UrlError::NotAllowed(_) => {
                        "omit X-Web-Hook and poll the job, or add the network of the receiver to \
                         server.agent_allow"
                    }
                    UrlError::Unresolved(_) => {
                        "check the host name in X-Web-Hook and the name service of this node, or omit \
                         X-Web-Hook and poll the job"
                    }
                    UrlError::TooLong => {
                        "send a shorter URL, or omit X-Web-Hook and poll the job"
                    }
                    _ => "send an http:// URL without a user name, or omit X-Web-Hook and poll the job",
                };
                remediable_error("SYS.1007", details, remedy)
            }
            Self::InvalidTaskHeader(name) => remediable_error(
                "SYS.1007",
                format!("the header {name} is missing or invalid"),
                format!(
                    "send taskuuid with 1 to {MAX_TASK_UUID_BYTES} ASCII characters, and \
                     callbackurl with a URL: the reply to this call is asynchronous"
                ),
            ),
            Self::UnexpectedTaskHeader => remediable_error(
                "SYS.1006",
                "the header taskuuid is not allowed on this synchronous call",
                "send this call without the header taskuuid",
            ),
            Self::InsufficientRole { has, needs } => remediable_error(
                "ID.1002",
                format!("the request needs the role {needs}, but the caller has the role {has}"),
                "use a session or a client certificate with that role",
            )
            .with_opaque("role", has.as_str())
            .with_opaque("needs", needs.as_str()),
            Self::FingerprintNeedsAdmin { has } => remediable_error(
                "ID.1002",
                format!(
                    "{UPDATE_PATH}.hostKeyFingerprint: the role admin decides which host key is \
                     accepted, but the caller has the role {has}"
                ),
                "omit the fingerprint, or use a session or a client certificate with the role admin",
            )
            .with_opaque("path", format!("{UPDATE_PATH}.hostKeyFingerprint"))
            .with_opaque("role", has.as_str())
            .with_opaque("needs", Role::Admin.as_str()),
            Self::SecretsRequired => remediable_error(
                "SYS.1007",
                format!(
                    "{UPDATE_PATH}: expected the key password, privateKey or both: the stored \
                     secrets were given for another hostname and port, and the host-key policy has \
                     no pinned key that identifies this server"
                ),
                "send the password or the private key for this server, and all of them if the \
                 login needs both",
            )
            .with_opaque("path", UPDATE_PATH)
            .with_opaque("expected", "the key password, privateKey or both"),
            Self::UrlIsFixed => remediable_error(
                "SYS.1007",
                "the url of a store never changes, and the request names another one",
                "send the update without url; to serve another directory, add it as a store",
            ),
            Self::InvalidDeleteMode => remediable_error(
                "SYS.1007",
                "deleteMode in the query is neither Permissive nor Enforcing",
                "send Permissive or Enforcing once, or omit deleteMode: both delete the store",
            )
            .with_opaque("expected", "Permissive or Enforcing"),
            Self::UnsupportedCall(call) => remediable_error(
                "SYS.1014",
                format!("{call} is not supported"),
                call.alternative(),
            )
            .with_opaque("call", call.as_str()),
            Self::LegacyApi => remediable_error(
                "SYS.1014",
                "the daemon does not speak the protocol of zstack-cli",
                "use imagestore-agent on the node, or a client of ZStack's REST API, which the \
                 daemon serves below server.base_path",
            ),
            Self::UnknownPath => remediable_error(
                "SYS.1003",
                "the path does not exist",
                "compare the path with server.base_path and server.agent_prefixes",
            ),
            Self::UnknownStore(store) => remediable_error(
                "SYS.1003",
                format!("no store has the uuid {store}"),
                "list the stores to find the uuid",
            )
            .with_opaque("uuid", store.to_string()),
            Self::MethodNotAllowed => remediable_error(
                "SYS.1007",
                "the path does not support this method",
                "use one of the methods in the Allow header",
            ),
            Self::BodyTimeout(limit) => {
                let milliseconds = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                let details = format!("the body did not arrive within {milliseconds} ms");
                remediable_error("SYS.1007", details, "send the body without pauses")
                    .with_opaque("milliseconds", milliseconds)
            }
            Self::BodyTooLarge(max_bytes) => remediable_error(
                "SYS.1007",
                format!("the body is larger than {max_bytes} bytes"),
                "send a smaller body",
            )
            .with_opaque("bytes", *max_bytes),
            Self::UnsupportedCoding(coding) => remediable_error(
                "SYS.1007",
                match coding {
                    Some(coding) => format!("the Content-Encoding {coding} is not supported"),
                    None => "the Content-Encoding is not supported".to_owned(),
                },
                "send the body without a Content-Encoding",
            ),
            Self::NotJson => remediable_error(
                "SYS.1007",
                "the Content-Type is not application/json or another JSON type",
                "send Content-Type: application/json",
            ),
            Self::HostKeyMismatch(Some(key)) => remediable_error(
                "SYS.1007",
                format!(
                    "the last failed attempt recorded a different host key: {} {}",
                    key.algorithm, key.fingerprint
                ),
                "compare that key with ssh-keygen -lf on the server, then accept it",
            )
            .with_opaque("offeredFingerprint", key.fingerprint.as_str())
            .with_opaque("offeredKeyType", key.algorithm.as_str()),
            Self::HostKeyMismatch(None) => remediable_error(
                "SYS.1007",
                "the store has no host key to accept",
                "check offeredHostKey in the health of the store",
            ),
            Self::AlreadyExists(fault) => ErrorCode::from_fault("SYS.1007", fault, language),
            Self::ConnectFailed(failure) => ErrorCode::connect_failed(failure, language),
            Self::AddFailed(failure) => ErrorCode::add_failed(failure, language),
            Self::ChangeFailed(failure) => {
                ErrorCode::from_fault("SYS.1006", failure.root_fault(), language)
            }
            Self::RemoveFailed(failure) => ErrorCode::remove_failed(failure, language),
        }
    }
}

/// Creates an error that the caller or an operator can remedy.
fn remediable_error(
    code: &'static str,
    details: impl Into<String>,
    remedy: impl Into<String>,
) -> ErrorCode {
    ErrorCode::new(code, details).with_elaboration(remedy)
}
