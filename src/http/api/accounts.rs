//! The routes of ZStack's API for accounts, which need no session: login, the state of a session,
//! and its end. A session is named by itself, so only its owner can name it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;

use super::{AppState, response};
use crate::agent::StoreService;
use crate::http::audit::{AuditAction, AuditRecord};
use crate::http::auth::accounts::OpenedSession;
use crate::http::auth::rate_limit::RequestSource;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::wire::{SessionResponse, SessionValidityResponse, parse_account_login};

/// Opens a session. A wrong login has no line in the audit log but that of a rejected request,
/// because its name may be a mistyped password.
pub(super) async fn log_in<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    source: RequestSource,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let login = parse_account_login(&body.into_bytes()?)?;
    let opened = state.accounts.log_in(source, login).await?;
    let OpenedSession { session, caller, account_uuid, created, expires } = opened;
    let body = SessionResponse::new(&session, &account_uuid, created, expires, &state.dates);
    let response = response::json_response(StatusCode::OK, &body);
    Ok(AuditRecord::new(&caller, AuditAction::LogIn, None).finish(Ok(response)))
}

/// Reports if a session is open. A use of it does not extend it.
pub(super) async fn validate_session<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    source: RequestSource,
    SessionPath(session): SessionPath,
) -> Result<Response, ApiError> {
    let valid = state.accounts.authenticate(&session).is_some();
    if !valid {
        source.count_named_session(&state.auth_failures)?;
    }
    Ok(response::json_response(StatusCode::OK, &SessionValidityResponse { valid }))
}

/// Ends a session. As in ZStack, the end of a session that is not open succeeds.
pub(super) async fn log_out<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    source: RequestSource,
    SessionPath(session): SessionPath,
) -> Result<Response, ApiError> {
    match state.accounts.log_out(&session) {
        Some(caller) => {
            let response = response::empty_response();
            Ok(AuditRecord::new(&caller, AuditAction::LogOut, None).finish(Ok(response)))
        }
        None => {
            source.count_named_session(&state.auth_failures)?;
            Ok(response::empty_response())
        }
    }
}

/// The session that a path names. A segment that cannot be decoded is an unknown session.
pub(super) struct SessionPath(String);

impl<S: Send + Sync> FromRequestParts<S> for SessionPath {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let part = Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(part.map(|Path(text)| text).unwrap_or_default()))
    }
}
