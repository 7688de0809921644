//! The paths of ZStack's calls that the daemon knows but does not carry out. Each answers with an
//! error that names the call and the action that helps.
//!
//! The calls that ZStack carries out asynchronously are operations like any other, so that a client
//! that polls gets the error through its job.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get, post, put};

use super::AppState;
use super::job::call::OptionalJobCall;
use super::operation::StoreOperation;
use super::response::SchemaRequest;
use super::stores::run_operation;
use crate::agent::StoreService;
use crate::http::audit::AuditRecord;
use crate::http::auth::{Principal, Role};
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::wire::UnsupportedCall;

/// Creates the routes of the calls that have a path of their own.
pub(super) fn unsupported_routes<S: StoreService>(base: &str) -> Router<Arc<AppState<S>>> {
    // Each closure is a handler, so that a route is one line.
    let synchronous = |call| move |caller: Principal| fail_synchronously(caller, call);
    let by_path = |call| {
        move |State(state): State<Arc<AppState<S>>>, caller: Principal, job: OptionalJobCall| async move {
            fail_operation(&state, &caller, job, || Ok(call)).await
        }
    };
    let by_key = |call| {
        move |State(state): State<Arc<AppState<S>>>,
              caller: Principal,
              job: OptionalJobCall,
              body: JsonBody| async move {
            let parse = || Ok(UnsupportedCall::parse_call(&[call], &body.into_bytes()?)?);
            fail_operation(&state, &caller, job, parse).await
        }
    };
    let storage = format!("{base}/v1/backup-storage");
    let backups = format!("{base}/v1/database-backups");
    Router::new()
        .route(&format!("{storage}/image-store/actions"), put(by_key(UnsupportedCall::SetQuota)))
        .route(
            &format!("{storage}/image-store/disaster"),
            post(by_path(UnsupportedCall::AddDisasterStore)),
        )
        .route(
            &format!("{storage}/{{uuid}}/image-store"),
            put(synchronous(UnsupportedCall::GetImages)),
        )
        .route(
            &format!("{storage}/{{uuid}}/exported-images/{{image}}"),
            delete(by_path(UnsupportedCall::DeleteExportedImage)),
        )
        .route(&format!("{storage}/trash"), get(synchronous(UnsupportedCall::GetTrash)))
        .route(
            &format!("{storage}/{{uuid}}/trash/actions"),
            put(by_key(UnsupportedCall::CleanUpTrash)),
        )
        .route(
            &format!("{base}/v1/images/{{uuid}}/actions"),
            put(by_key(UnsupportedCall::SyncImage)),
        )
        .route(
            &format!("{backups}/image-store"),
            get(synchronous(UnsupportedCall::GetDatabaseBackups)),
        )
        .route(
            &format!("{backups}/{{uuid}}/actions"),
            put(by_key(UnsupportedCall::SyncDatabaseBackup)),
        )
}

/// Fails a call that ZStack carries out while the client waits.
async fn fail_synchronously(caller: Principal, call: UnsupportedCall) -> ApiError {
    match caller.require_role(Role::Read) {
        Ok(()) => ApiError::UnsupportedCall(call),
        Err(error) => error,
    }
}

/// Fails a call that changes something, as an operation with its audit line.
async fn fail_operation<S: StoreService>(
    state: &Arc<AppState<S>>,
    caller: &Principal,
    job: OptionalJobCall,
    parse: impl FnOnce() -> Result<UnsupportedCall, ApiError>,
) -> Response {
    let audit = AuditRecord::new(caller, "unsupported", None);
    let parse = || Ok(StoreOperation::Unsupported { store: None, call: parse()? });
    // No such call has an answer with objects.
    run_operation(state, caller, SchemaRequest(false), audit, job, parse).await
}
