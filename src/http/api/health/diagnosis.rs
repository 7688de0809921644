//! The diagnosis of the daemon and its stores: `{prefix}/diagnosis`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::agent::{ActiveCondition, StoreService, StoreSnapshot, active_conditions};
use crate::catalog::{DoctorCheck, Language};
use crate::common::for_each_fairly;
use crate::diagnosis::{
    AgentCallFacts, CertificateFacts, ConditionFact, DaemonFacts, Finding, ReportFact, StoreFacts,
    StoreObserver, StoreTitle, Verdict, diagnose_agent_calls, diagnose_callback,
    diagnose_certificate, diagnose_clock, diagnose_daemon, diagnose_store,
};
use crate::http::api::query_string::QueryParameters;
use crate::http::api::{AppState, response};
use crate::http::auth::{Principal, Role};
use crate::http::error::ApiError;
use crate::model::StoreUuid;
use crate::notifier::NotifierHandle;
use crate::query::InvalidParameter;
use crate::wire::{DIAGNOSIS_VERSION, DiagnosisResponse, DiagnosisTotal, FindingBody, ListWriter};

/// The choice of a caller.
#[derive(Debug, PartialEq, Eq)]
struct DiagnosisRequest {
    /// The stores, or none for all stores and the daemon.
    stores: Vec<StoreUuid>,
    /// True if only what is not well is wanted.
    brief: bool,
    language: Language,
}

impl DiagnosisRequest {
    /// Reads the parameters `store` (a uuid, any number of times), `brief` (`true` or `false`) and
    /// `language` (`en` or `zh`; the default is `default_language`).
    ///
    /// # Errors
    /// [`InvalidParameter`] for any other parameter or value.
    fn parse(
        parameters: &QueryParameters,
        default_language: Language,
    ) -> Result<Self, InvalidParameter> {
        let mut request = Self { stores: Vec::new(), brief: false, language: default_language };
        for (name, value) in parameters.pairs() {
            let invalid = |expected: &str| InvalidParameter::new(name, expected);
            match name {
                "store" => {
                    let uuid =
                        value.parse().map_err(|_| invalid("expected the uuid of a store"))?;
                    request.stores.push(uuid);
                }
                "brief" => {
                    let brief = value.parse().map_err(|_| invalid("expected true or false"))?;
                    request.brief = brief;
                }
                "language" => {
                    let language = value.parse().map_err(|_| invalid("expected en or zh"))?;
                    request.language = language;
                }
                _ => return Err(invalid("a diagnosis has no such parameter")),
            }
        }
        Ok(request)
    }
}

/// Returns the findings of the daemon and of all stores, or of some stores only.
pub(in crate::http::api) async fn get_diagnosis<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    parameters: QueryParameters,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let request =
        DiagnosisRequest::parse(&parameters, state.language).map_err(ApiError::InvalidParameter)?;
    let (of_daemon, chosen) = match request.stores.is_empty() {
        true => (daemon_findings(&state), state.stores.snapshots()),
        false => (Vec::new(), find_stores(&state, &request.stores)?),
    };
    let mut body = ListWriter::new(&DiagnosisResponse {
        output_version: DIAGNOSIS_VERSION,
        version: env!("CARGO_PKG_VERSION"),
        checks: [],
    });
    // A check that could not run says nothing about what it would have found.
    let mut worst = Verdict::Ok;
    // The findings of thousands of stores are not kept. The worst verdict is that of the findings
    // that are written, so it follows them.
    let mut push = |finding: &Finding| {
        worst = worst.max(finding.verdict);
        if !request.brief || finding.verdict > Verdict::Ok {
            body.push(&FindingBody::new(finding, request.language));
        }
    };
    of_daemon.iter().for_each(&mut push);
    for_each_fairly(&chosen, |snapshot| {
        store_findings(&state, snapshot).iter().for_each(&mut push);
    })
    .await;
    let bytes = body.finish_with(&DiagnosisTotal { worst: worst.as_str() });
    Ok(response::body_response(StatusCode::OK, bytes))
}

/// Finds the stores that a caller has chosen.
///
/// # Errors
/// [`ApiError::UnknownStore`] for the first one that is not served.
fn find_stores<S: StoreService>(
    state: &AppState<S>,
    uuids: &[StoreUuid],
) -> Result<Vec<Arc<StoreSnapshot>>, ApiError> {
    let find = |uuid: &StoreUuid| state.stores.snapshot(*uuid).ok_or(ApiError::UnknownStore(*uuid));
    uuids.iter().map(find).collect()
}

/// The settings of the two certificates.
const SERVER_CERT: &str = "server.tls.cert";
const CLIENT_CERT: &str = "callback.client_cert";

fn daemon_findings<S>(state: &AppState<S>) -> Vec<Finding> {
    let mut unready = state.readiness.failures();
    if state.stop.is_cancelled() {
        unready.push("the daemon is stopping".to_owned());
    }
    let notifier = state.daemon.notifier.as_ref();
    let delivery = notifier.map(NotifierHandle::waiting_notices);
    let now = state.daemon.clock.now();
    let state_disk = state.daemon.conditions.state_disk.borrow().clone();
    let mut findings = diagnose_daemon(&DaemonFacts {
        started: state.daemon.conditions.started,
        unready: &unready,
        state_disk: state_disk.as_deref(),
        delivery: delivery.as_ref(),
        now,
    });
    findings.push(diagnose_clock(&state.daemon.clock.facts()));
    findings.push(diagnose_callback(&notifier.map(NotifierHandle::receivers).unwrap_or_default()));
    findings.push(diagnose_agent_calls(&AgentCallFacts {
        has_networks: !state.replies.url_guard().allowlist().networks().is_empty(),
        refused: state.agent_refusals.callers(),
        now,
    }));
    let served = state.tls.as_ref().and_then(|tls| tls.borrow().certificate().cloned());
    let sent = notifier.and_then(NotifierHandle::client_certificate);
    for (check, in_use, need) in [
        (DoctorCheck::CertificateServer, served, SERVER_CERT),
        (DoctorCheck::CertificateClient, sent, CLIENT_CERT),
    ] {
        let facts = CertificateFacts { check, in_use, is_unused: false, file: None, now };
        findings.push(diagnose_certificate(&facts, need));
    }
    findings
}

fn store_findings<S: StoreService>(state: &AppState<S>, snapshot: &StoreSnapshot) -> Vec<Finding> {
    let store = &snapshot.store;
    let title = StoreTitle { uuid: store.uuid, name: store.name.clone() };
    let sharers = state.stores.space_sharers(snapshot);
    let active = active_conditions(snapshot, &sharers, &state.daemon.conditions);
    let conditions: Vec<ConditionFact> = active
        .into_iter()
        .map(|ActiveCondition { condition, message, since }| ConditionFact {
            condition,
            message,
            since,
        })
        .collect();
    let report = state.daemon.notifier.as_ref().map(|notifier| {
        let status = notifier.delivery_status(store.uuid).unwrap_or_default();
        ReportFact {
            destination: notifier.active_endpoint(),
            pending: status.pending,
            last_reply: status.last_failure.map(|failure| failure.reply.to_string()),
            next_try: status.next_try,
        }
    });
    diagnose_store(&StoreFacts {
        title: &title,
        observer: StoreObserver::Daemon,
        status: snapshot.durable.status,
        since: snapshot.durable.since,
        failure: snapshot.durable.failure.as_ref(),
        checks: &snapshot.checks,
        conditions: &conditions,
        capacity: snapshot.durable.capacity,
        inodes: snapshot.durable.inodes,
        host_identity: snapshot.host_identity.as_ref(),
        report: report.as_ref(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<DiagnosisRequest, InvalidParameter> {
        DiagnosisRequest::parse(&QueryParameters::decode(query).unwrap(), Language::English)
    }

    #[test]
    fn each_parameter_is_honoured_or_refused() {
        let uuid: StoreUuid = "4cd9fb914f5f4a1d8d2f000000000001".parse().unwrap();
        let all = DiagnosisRequest { stores: vec![], brief: false, language: Language::English };
        assert_eq!(parse("").unwrap(), all);
        let chosen =
            DiagnosisRequest { stores: vec![uuid, uuid], brief: true, language: Language::Chinese };
        let query = format!("store={uuid}&brief=true&store={uuid}&language=zh");
        assert_eq!(parse(&query).unwrap(), chosen);
        for (query, parameter) in [
            ("store=images", "store"),
            ("brief=yes", "brief"),
            ("language=fr", "language"),
            ("q=1", "q"),
        ] {
            assert_eq!(parse(query).unwrap_err().parameter(), parameter);
        }
    }
}
