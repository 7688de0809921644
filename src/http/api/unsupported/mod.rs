//! The paths of ZStack's calls that the daemon knows but does not carry out. Each answers with an
//! error that names the call and the action that helps.
//!
//! The calls that ZStack carries out asynchronously are operations like any other, so that a client
//! that polls gets the error through its job.

pub(in crate::http) mod legacy;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::agent::StoreService;
use crate::http::api::AppState;
use crate::http::api::job::call::OptionalJobCall;
use crate::http::api::operation::StoreOperation;
use crate::http::api::response::SchemaRequest;
use crate::http::api::routes::PathScope::Base;
use crate::http::api::routes::Route;
use crate::http::api::routes::RouteMethod::{Delete, Get, Post, Put};
use crate::http::api::stores::run_operation;
use crate::http::audit::{AuditAction, AuditRecord};
use crate::http::auth::{Principal, Role};
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::wire::UnsupportedCall;

/// Returns the routes of the calls that have a path of their own.
pub(in crate::http::api) fn unsupported_routes<S: StoreService>() -> Vec<Route<S>> {
    // Each closure is a handler, so that a route is one entry.
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
    let storage = |path| format!("/v1/backup-storage{path}");
    let backups = |path| format!("/v1/database-backups{path}");
    let (quota, disaster) = (storage("/image-store/actions"), storage("/image-store/disaster"));
    let (images, trash) = (storage("/{uuid}/image-store"), storage("/trash"));
    let exported = storage("/{uuid}/exported-images/{image}");
    let (clean_up, sync) = (storage("/{uuid}/trash/actions"), backups("/{uuid}/actions"));
    vec![
        Route::new(Put, Base, &quota, by_key(UnsupportedCall::SetQuota)),
        Route::new(Post, Base, &disaster, by_path(UnsupportedCall::AddDisasterStore)),
        Route::new(Put, Base, &images, synchronous(UnsupportedCall::GetImages)),
        Route::new(Delete, Base, &exported, by_path(UnsupportedCall::DeleteExportedImage)),
        Route::new(Get, Base, &trash, synchronous(UnsupportedCall::GetTrash)),
        Route::new(Put, Base, &clean_up, by_key(UnsupportedCall::CleanUpTrash)),
        Route::new(Put, Base, "/v1/images/{uuid}/actions", by_key(UnsupportedCall::SyncImage)),
        Route::new(
            Get,
            Base,
            &backups("/image-store"),
            synchronous(UnsupportedCall::GetDatabaseBackups),
        ),
        Route::new(Put, Base, &sync, by_key(UnsupportedCall::SyncDatabaseBackup)),
    ]
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
    let audit = AuditRecord::new(caller, AuditAction::Unsupported, None);
    let parse = || Ok(StoreOperation::Unsupported { store: None, call: parse()? });
    // No such call has an answer with objects.
    run_operation(state, caller, SchemaRequest(false), audit, job, parse).await
}
