//! The operations that change a store, as a request asks for them, and their execution.

use std::sync::Arc;

use axum::response::Response;
use tracing::info;

use super::response::{self, SchemaRequest};
use crate::agent::{
    AddError, ReconnectError, StoreService, StoreSnapshot, UpdateError, UpdateRefusal,
};
use crate::http::audit::AuditAction;
use crate::http::auth::Role;
use crate::http::error::ApiError;
use crate::model::{AddStore, AttemptFailure, PlacementChange, StoreUpdate, StoreUuid, Tags};
use crate::wire::{DateFormat, StoreAction, UnsupportedCall};

/// An operation that changes a store.
#[derive(Debug)]
pub(super) enum StoreOperation {
    Add(Box<AddStore>),
    Reconnect {
        store: StoreUuid,
        tags: Tags,
        force: bool,
    },
    Update {
        store: StoreUuid,
        update: Box<StoreUpdate>,
    },
    AcceptHostKey {
        store: StoreUuid,
        fingerprint: String,
        tags: Tags,
    },
    ChangePlacement {
        store: StoreUuid,
        change: PlacementChange,
    },
    Remove {
        store: StoreUuid,
    },
    /// A call that the daemon knows, but does not carry out. It fails by name.
    Unsupported {
        store: Option<StoreUuid>,
        call: UnsupportedCall,
    },
}

/// The result of an operation that succeeded.
#[derive(Clone, Debug)]
pub(super) enum OperationResult {
    /// The store after the operation.
    Store(Arc<StoreSnapshot>),
    /// The store is gone.
    Removed,
}

impl StoreOperation {
    /// Creates the operation of an action on `store`, for a caller with the role `role`.
    pub(super) fn from_action(store: StoreUuid, action: StoreAction, role: Role) -> Self {
        match action {
            StoreAction::Reconnect { tags, force } => Self::Reconnect { store, tags, force },
            StoreAction::Update(mut update) => {
                update.by_admin = role >= Role::Admin;
                Self::Update { store, update }
            }
            StoreAction::AcceptHostKey { fingerprint, tags } => {
                Self::AcceptHostKey { store, fingerprint, tags }
            }
            StoreAction::ChangeState(state) => {
                Self::ChangePlacement { store, change: PlacementChange::State(state) }
            }
            StoreAction::Unsupported(call) => Self::Unsupported { store: Some(store), call },
        }
    }

    /// Returns the action of the operation in the audit log.
    pub(super) fn audit_action(&self) -> AuditAction {
        match self {
            Self::Add(_) => AuditAction::Add,
            Self::Reconnect { .. } => AuditAction::Reconnect,
            Self::Update { .. } => AuditAction::Update,
            Self::AcceptHostKey { .. } => AuditAction::AcceptHostKey,
            Self::ChangePlacement { change: PlacementChange::State(_), .. } => {
                AuditAction::ChangeState
            }
            Self::ChangePlacement { change: PlacementChange::AttachZone(_), .. } => {
                AuditAction::AttachZone
            }
            Self::ChangePlacement { change: PlacementChange::DetachZone(_), .. } => {
                AuditAction::DetachZone
            }
            Self::Remove { .. } => AuditAction::Remove,
            Self::Unsupported { .. } => AuditAction::Unsupported,
        }
    }

    /// Returns the error that a failed attempt of the operation becomes.
    pub(super) fn failure_error(&self) -> fn(AttemptFailure) -> ApiError {
        match self {
            Self::Add(_) => ApiError::AddFailed,
            Self::ChangePlacement { .. } => ApiError::ChangeFailed,
            Self::Remove { .. } => ApiError::RemoveFailed,
            _ => ApiError::ConnectFailed,
        }
    }

    /// Returns the store that the operation concerns, or `None` for an add that leaves the choice
    /// of the uuid to the daemon.
    pub(super) fn store(&self) -> Option<StoreUuid> {
        match self {
            Self::Add(request) => request.uuid,
            Self::Reconnect { store, .. }
            | Self::Update { store, .. }
            | Self::AcceptHostKey { store, .. }
            | Self::ChangePlacement { store, .. }
            | Self::Remove { store } => Some(*store),
            Self::Unsupported { store, .. } => *store,
        }
    }

    /// Returns the role that the operation needs.
    pub(super) fn required_role(&self) -> Role {
        match self {
            Self::AcceptHostKey { .. } => Role::Admin,
            Self::Add(request) if request.take_over => Role::Admin,
            _ => Role::Operate,
        }
    }

    /// Carries out the operation for a caller with the role `role`.
    ///
    /// # Errors
    /// The error of the operation.
    pub(super) async fn run<S: StoreService>(
        self,
        stores: &S,
        role: Role,
    ) -> Result<OperationResult, ApiError> {
        let snapshot = match self {
            Self::Add(request) => {
                if !request.without_effect.is_empty() {
                    info!(fields = ?request.without_effect, "fields of add without effect");
                }
                stores.add(*request).await.map_err(|error| match error {
                    AddError::Duplicate(fault) => ApiError::AlreadyExists(fault),
                    AddError::Failed(failure) => ApiError::AddFailed(failure),
                })?
            }
            Self::Reconnect { store, tags, force } => stores.reconnect(store, tags, force).await?,
            Self::Update { store, update } => {
                let updated = stores.update(store, *update).await;
                updated.map_err(|error| ApiError::from_update(error, role))?
            }
            Self::AcceptHostKey { store, fingerprint, tags } => {
                stores.accept_host_key(store, &fingerprint, tags).await?
            }
            Self::ChangePlacement { store, change } => {
                let changed = stores.change_placement(store, change).await;
                changed.map_err(ApiError::from_placement)?
            }
            Self::Unsupported { call, .. } => return Err(ApiError::UnsupportedCall(call)),
            // Removing a store that does not exist succeeds.
            Self::Remove { store } => {
                stores.remove(store).await.map_err(ApiError::RemoveFailed)?;
                return Ok(OperationResult::Removed);
            }
        };
        Ok(OperationResult::Store(snapshot))
    }
}

impl OperationResult {
    /// Returns the store after the operation, or `None` if it is gone.
    pub(super) fn store(&self) -> Option<StoreUuid> {
        match self {
            Self::Store(snapshot) => Some(snapshot.store.uuid),
            Self::Removed => None,
        }
    }

    /// Creates the response with the result.
    pub(super) fn to_response(&self, schema: SchemaRequest, dates: &DateFormat) -> Response {
        match self {
            Self::Store(snapshot) => response::inventory_response(snapshot, schema, dates),
            Self::Removed => response::empty_response(),
        }
    }
}

impl ApiError {
    /// Creates the error of a change of the placement.
    fn from_placement(error: ReconnectError) -> Self {
        match error {
            ReconnectError::UnknownStore(store) => Self::UnknownStore(store),
            ReconnectError::Failed(failure) => Self::ChangeFailed(failure),
        }
    }

    /// Creates the error of an update that a caller with this role requested.
    fn from_update(error: UpdateError, caller: Role) -> Self {
        match error {
            UpdateError::UnknownStore(store) => Self::UnknownStore(store),
            UpdateError::Refused(UpdateRefusal::AdminRequired) => {
                Self::FingerprintNeedsAdmin { has: caller }
            }
            UpdateError::Refused(UpdateRefusal::SecretsRequired) => Self::SecretsRequired,
            UpdateError::Refused(UpdateRefusal::UrlIsFixed) => Self::UrlIsFixed,
            UpdateError::Failed(failure) => Self::ConnectFailed(failure),
        }
    }
}
