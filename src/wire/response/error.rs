//! The error object: ZStack's `ErrorCode`.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::catalog::{Language, fault_action, short_fault_action};
use crate::model::{AttemptFailure, Fact, Fault};

/// The text between the description of a failure and its remedy, in the details of an answer.
pub const REMEDY_MARK: &str = "; remedy: ";

/// An error: `code`, its fixed `description`, and the free text `details`. `elaboration` holds the
/// remedy, `opaque` the facts and `cause` the underlying error. Absent fields are omitted.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorCode {
    code: &'static str,
    description: &'static str,
    details: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    elaboration: Option<String>,
    /// The short form of the remedy of a fault.
    #[serde(skip)]
    short_remedy: Option<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    opaque: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Box<ErrorCode>>,
}

/// The body of a response that reports an error.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ErrorResponse<'a> {
    /// The error that is reported.
    pub error: &'a ErrorCode,
}

/// Every error code with its fixed text (`conf/errorCodes/*.xml` of ZStack).
pub const ERROR_CODES: &[(&str, &str)] = &[
    ("BS.1500", "Unable to connect a backup storage"),
    ("SYS.1002", "Failed to create a resource"),
    ("SYS.1003", "Resource not found"),
    ("SYS.1004", "Failed to delete a resource"),
    ("SYS.1006", "An operation failed"),
    ("SYS.1007", "One or more API argument is invalid"),
    ("SYS.1012", "The management node is unavailable"),
    ("SYS.1014", "The operation is not implemented or not supported yet"),
    ("ID.1000", "Unable to authenticate a user"),
    ("ID.1001", "The session is invalid or has expired"),
    ("ID.1002", "Permission denied"),
];

/// Returns the fixed text of an error code.
fn description(code: &str) -> &'static str {
    let found = ERROR_CODES.iter().find(|(known, _)| *known == code);
    found.map_or("An internal error happened", |(_, text)| text)
}

impl ErrorCode {
    /// Creates an error with this code and without a cause.
    pub fn new(code: &'static str, details: impl Into<String>) -> Self {
        Self {
            code,
            description: description(code),
            details: details.into(),
            elaboration: None,
            short_remedy: None,
            opaque: Map::new(),
            cause: None,
        }
    }

    /// Returns the error with a remedy.
    #[must_use]
    pub fn with_elaboration(mut self, remedy: impl Into<String>) -> Self {
        self.elaboration = Some(remedy.into());
        self
    }

    /// Returns the error with one more fact.
    #[must_use]
    pub fn with_opaque(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.opaque.insert(name.to_owned(), value.into());
        self
    }

    /// Returns the error with the remedy of its root cause at the end of its details, because many
    /// clients show nothing else. It is the short form, if the remedy has one.
    #[must_use]
    pub fn with_remedy_in_details(mut self) -> Self {
        let root = std::iter::successors(Some(&self), |error| error.cause.as_deref()).last();
        let remedy = root.and_then(|root| root.short_remedy.as_ref().or(root.elaboration.as_ref()));
        let Some(remedy) = remedy else { return self };
        let details = format!("{}{REMEDY_MARK}{remedy}", self.details);
        self.details = details;
        self
    }

    /// Creates the error of one fault, with its reason, check, facts and remedy.
    pub fn from_fault(code: &'static str, fault: &Fault) -> Self {
        let mut error = Self::new(code, fault.details())
            .with_elaboration(fault_action(fault, Language::English));
        error.short_remedy = Some(short_fault_action(fault, Language::English).into_owned());
        for (name, fact) in fault.facts() {
            error.opaque.insert(name.clone(), fact_value(fact));
        }
        // These keys are inserted last, so that no fact can overwrite them.
        error.opaque.insert("reason".to_owned(), fault.reason().as_str().into());
        error.opaque.insert("check".to_owned(), fault.reason().failed_check().as_str().into());
        error
    }

    /// Creates the error of a store that could not be connected, with code BS.1500. `opaque.checks`
    /// lists all failed checks, and `cause` holds the root cause.
    pub fn connect_failed(failure: &AttemptFailure) -> Self {
        let checks: Vec<Value> = failure.all_faults().map(check_entry).collect();
        let root = failure.root_fault();
        let mut error = Self::new("BS.1500", failure.to_string())
            .with_opaque("reason", root.reason().as_str())
            .with_opaque("checks", checks);
        error.cause = Some(Box::new(Self::from_fault("SYS.1006", root)));
        error
    }

    /// Creates the error of a store that could not be added, with code SYS.1002. Its cause is the
    /// error of [`ErrorCode::connect_failed`].
    pub fn add_failed(failure: &AttemptFailure) -> Self {
        let cause = Self::connect_failed(failure);
        let mut error = Self::new("SYS.1002", cause.details.clone());
        error.opaque.clone_from(&cause.opaque);
        error.cause = Some(Box::new(cause));
        error
    }

    /// Creates the error of a store that could not be removed, with code SYS.1004. Its cause is the
    /// root cause.
    pub fn remove_failed(failure: &AttemptFailure) -> Self {
        let root = failure.root_fault();
        let mut error = Self::new("SYS.1004", failure.to_string())
            .with_opaque("reason", root.reason().as_str());
        error.cause = Some(Box::new(Self::from_fault("SYS.1006", root)));
        error
    }
}

/// Creates one entry of `opaque.checks`.
fn check_entry(fault: &Fault) -> Value {
    let mut entry: Map<String, Value> =
        fault.facts().iter().map(|(name, fact)| (name.clone(), fact_value(fact))).collect();
    entry.insert("check".to_owned(), fault.reason().failed_check().as_str().into());
    entry.insert("reason".to_owned(), fault.reason().as_str().into());
    entry.insert("details".to_owned(), fault.details().into());
    entry.insert("elaboration".to_owned(), fault_action(fault, Language::English).into());
    Value::Object(entry)
}

pub(super) fn fact_value(fact: &Fact) -> Value {
    match fact {
        Fact::Text(text) => text.as_str().into(),
        Fact::Number(number) => (*number).into(),
        Fact::Flag(flag) => (*flag).into(),
        Fact::List(list) => list.clone().into(),
    }
}

#[cfg(test)]
pub(in crate::wire) mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::reason_guidance;
    use crate::model::Reason;

    pub(in crate::wire) fn example_failure() -> AttemptFailure {
        let ssh = Fault::new(Reason::ConnectionRefused, "no process listens on 127.0.0.1:22")
            .with_detail("port", 22_u16);
        let storage = Fault::new(Reason::NotMounted, "/data is not mounted")
            .with_detail("path", "/data")
            .with_remedy("mount /data");
        AttemptFailure::from_faults([ssh, storage]).unwrap()
    }

    #[test]
    fn the_root_cause_is_deepest_and_every_failed_check_is_listed() {
        let error = serde_json::to_value(ErrorCode::add_failed(&example_failure())).unwrap();
        assert_eq!(error["code"], "SYS.1002");
        let cause = &error["cause"];
        assert_eq!(cause["code"], "BS.1500");
        assert_eq!(cause["opaque"]["checks"], error["opaque"]["checks"]);
        let deepest = &cause["cause"];
        assert_eq!(
            *deepest,
            json!({
                "code": "SYS.1006", "description": "An operation failed",
                "details": "/data is not mounted", "elaboration": "mount /data",
                "opaque": {"reason": "not_mounted", "check": "identity", "path": "/data"}
            })
        );
        let reasons: Vec<&Value> = cause["opaque"]["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|check| &check["reason"])
            .collect();
        assert_eq!(reasons, ["not_mounted", "connection_refused"]);
        assert_eq!(cause["opaque"]["checks"][1]["port"], 22);
    }

    #[test]
    fn a_removal_that_failed_has_its_own_code_above_the_same_cause() {
        let error = serde_json::to_value(ErrorCode::remove_failed(&example_failure())).unwrap();
        assert_eq!(error["code"], "SYS.1004");
        assert_eq!(error["description"], "Failed to delete a resource");
        assert_eq!(error["opaque"]["reason"], "not_mounted");
        assert_eq!(error["cause"]["elaboration"], "mount /data");
    }

    #[test]
    fn the_details_of_an_answer_end_with_the_short_remedy_of_the_root_cause() {
        let add = ErrorCode::add_failed(&example_failure()).with_remedy_in_details();
        let add = serde_json::to_value(add).unwrap();
        let plain = "not_mounted: /data is not mounted; \
                     connection_refused: no process listens on 127.0.0.1:22";
        assert_eq!(add["details"], format!("{plain}; remedy: mount /data"));
        // The clients that show the first cause too get the remedy once.
        assert_eq!(add["cause"]["details"], plain);
        for reason in Reason::ALL {
            let failure = AttemptFailure::from_fault(Fault::new(*reason, "x"));
            let error = ErrorCode::connect_failed(&failure).with_remedy_in_details();
            let (_, remedy) = error.details.split_once(REMEDY_MARK).unwrap();
            assert_eq!(remedy, reason_guidance(*reason).short_action(Language::English));
        }
        // A remedy for one case is complete, also if a condition comes before its action.
        let fault = Fault::new(Reason::PermissionDenied, "x").with_remedy("as root: chattr -i /a");
        let error = ErrorCode::connect_failed(&fault.into()).with_remedy_in_details();
        assert_eq!(error.details, "permission_denied: x; remedy: as root: chattr -i /a");
        let request = ErrorCode::new("SYS.1007", "no JSON type")
            .with_elaboration("send Content-Type: application/json");
        assert_eq!(
            request.with_remedy_in_details().details,
            "no JSON type; remedy: send Content-Type: application/json"
        );
        let bare = ErrorCode::new("SYS.1003", "no store").with_remedy_in_details();
        assert_eq!(bare.details, "no store");
    }

    #[test]
    fn no_fact_overwrites_the_reason() {
        let fault = Fault::new(Reason::IoError, "x").with_detail("reason", "another");
        let error = serde_json::to_value(ErrorCode::from_fault("SYS.1006", &fault)).unwrap();
        assert_eq!(error["opaque"]["reason"], "io_error");
    }

    #[test]
    fn absent_fields_are_omitted() {
        let error = serde_json::to_value(ErrorCode::new("SYS.1003", "no store")).unwrap();
        let expected =
            json!({"code": "SYS.1003", "description": "Resource not found", "details": "no store"});
        assert_eq!(error, expected);
    }
}
