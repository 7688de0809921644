//! The audit log. It has one INFO line for each request for a change, whoever sent it and however
//! it ended, and one for each denied request.

pub(super) mod denial;
pub(super) mod denial_log;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tracing::{debug, info};

use super::auth::Principal;
use super::error::ApiError;
use crate::common::string_enum;
use crate::model::{Reason, StoreUuid};
use denial::AccessDenial;

/// Target of the audit lines, which distinguishes them from all others, and of the span around
/// them.
pub const AUDIT_TARGET: &str = "audit";

/// Name of the events of the audit lines of changes. The name is not written. The log keeps room
/// for the events that have it.
pub const AUDIT_CHANGE_EVENT: &str = "audited change";

string_enum! {
    /// The action in an audit line: the change or the check that a request asks for.
    pub AuditAction {
        /// A reconnect, also by an action that the body does not name.
        Reconnect = "reconnect",
        /// A change of a definition.
        Update = "update",
        /// A store that is enabled or disabled.
        ChangeState = "change_state",
        /// A store that is attached to a zone.
        AttachZone = "attach_zone",
        /// A store that is detached from a zone.
        DetachZone = "detach_zone",
        /// A host key that is accepted.
        AcceptHostKey = "accept_host_key",
        /// A store that is added.
        Add = "add",
        /// A store that is removed.
        Remove = "remove",
        /// A probe on request.
        Probe = "probe",
        /// An SSH login on request.
        Login = "login",
        /// A session that is opened.
        LogIn = "log_in",
        /// A session that is ended.
        LogOut = "log_out",
        /// A call that the daemon does not carry out.
        Unsupported = "unsupported",
        /// The connect command of the agent protocol.
        AgentConnect = "agent_connect",
    }
}

/// Writes the audit line of a denied request. A denial that is not `written` has the level DEBUG,
/// because the log already has enough lines about denials.
pub(super) fn log_denial(status: StatusCode, denial: AccessDenial, written: bool) {
    let (status, AccessDenial { rule, field }) = (status.as_u16(), denial);
    if written {
        info!(target: AUDIT_TARGET, status, why = rule, name = field, "request rejected");
    } else {
        debug!(target: AUDIT_TARGET, status, why = rule, name = field, "request rejected");
    }
}

/// The audit line of one request. It is written when the response is known, or when the client
/// disconnects before that. In the second case the requested change may still complete.
pub(crate) struct AuditRecord {
    caller: Principal,
    action: AuditAction,
    store: Option<StoreUuid>,
    status: Option<u16>,
    reason: Option<Reason>,
}

impl AuditRecord {
    pub(crate) fn new(caller: &Principal, action: AuditAction, store: Option<StoreUuid>) -> Self {
        Self { caller: caller.clone(), action, store, status: None, reason: None }
    }

    /// Sets the action that the request body names.
    pub(crate) fn set_action(&mut self, action: AuditAction) {
        self.action = action;
    }

    /// Sets the store that the request concerns.
    pub(crate) fn set_store(&mut self, store: StoreUuid) {
        self.store = Some(store);
    }

    /// Sets the reason of a failure that the response status does not show.
    pub(crate) fn set_reason(&mut self, reason: Reason) {
        self.reason = Some(reason);
    }

    /// Creates the response and writes the audit line.
    pub(crate) fn finish(mut self, result: Result<Response, ApiError>) -> Response {
        self.reason = self.reason.or_else(|| result.as_ref().err().and_then(ApiError::reason));
        let response = result.unwrap_or_else(ApiError::into_response);
        self.status = Some(response.status().as_u16());
        response
    }
}

impl Drop for AuditRecord {
    fn drop(&mut self) {
        let (caller, role) = (self.caller.name(), self.caller.role());
        let kind = self.caller.kind();
        let (action, store) = (self.action.as_str(), self.store.map(tracing::field::display));
        let reason = self.reason.map(Reason::as_str);
        match self.status {
            Some(status) => {
                info!(
                    name: AUDIT_CHANGE_EVENT, target: AUDIT_TARGET,
                    caller, %kind, %role, action, store, status, reason, "request"
                );
            }
            None => {
                info!(
                    name: AUDIT_CHANGE_EVENT, target: AUDIT_TARGET,
                    caller, %kind, %role, action, store, "request aborted by client"
                );
            }
        }
    }
}
