//! The error object: ZStack's `ErrorCode`.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::catalog::{
    Language, Text, ZstackCode, annotated_phrase, fault_action, reason_guidance, short_fault_action,
};
use crate::model::{AttemptFailure, Fact, Fault};

/// The text between the description of a failure and its remedy, in the details of an answer.
pub const REMEDY_MARK: Text = Text { en: "; remedy: ", zh: "；处理：" };

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
    /// The language of the details and of the remedy.
    #[serde(skip)]
    language: Language,
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

/// Returns the fixed text of an error code.
fn description(code: &str) -> &'static str {
    code.parse::<ZstackCode>().map_or("An internal error happened", ZstackCode::description)
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
            language: Language::English,
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
        let mark = REMEDY_MARK.marked(self.language);
        let details = format!("{}{mark}{remedy}", self.details);
        self.details = details;
        self
    }

    /// Returns an error whose texts are English in another language: the meaning of its code, then
    /// the English sentence. The same holds for its remedy.
    #[must_use]
    pub fn translated(mut self, language: Language) -> Self {
        if language == Language::English {
            return self;
        }
        let Ok(code) = self.code.parse::<ZstackCode>() else { return self };
        let advice = code.advice();
        self.language = language;
        let annotate =
            |text, sentence: &str| annotated_phrase(text, sentence, language).into_owned();
        self.details = annotate(advice.meaning, &self.details);
        self.elaboration = self.elaboration.map(|remedy| annotate(advice.action, &remedy));
        self
    }

    /// Creates the error of one fault, with its reason, check, facts and remedy.
    pub fn from_fault(code: &'static str, fault: &Fault, language: Language) -> Self {
        let mut error = Self::new(code, fault_details(fault, language))
            .with_elaboration(fault_action(fault, language));
        error.language = language;
        error.short_remedy = Some(short_fault_action(fault, language).into_owned());
        for (name, fact) in fault.facts() {
            error.opaque.insert(name.clone(), fact_value(fact));
        }
        // These keys are inserted last, so that no fact can overwrite them.
        error.opaque.insert("reason".to_owned(), fault.reason().as_str().into());
        error.opaque.insert("check".to_owned(), fault.reason().failed_check().as_str().into());
        error
    }

    fn of_failure(code: &'static str, failure: &AttemptFailure, language: Language) -> Self {
        Self { language, ..Self::new(code, failure_text(failure, language)) }
    }

    /// Creates the error of a store that could not be connected, with code BS.1500. `opaque.checks`
    /// lists all failed checks, and `cause` holds the root cause.
    pub fn connect_failed(failure: &AttemptFailure, language: Language) -> Self {
        let checks: Vec<Value> =
            failure.all_faults().map(|fault| check_entry(fault, language)).collect();
        let root = failure.root_fault();
        let mut error = Self::of_failure("BS.1500", failure, language)
            .with_opaque("reason", root.reason().as_str())
            .with_opaque("checks", checks);
        error.cause = Some(Box::new(Self::from_fault("SYS.1006", root, language)));
        error
    }

    /// Creates the error of a store that could not be added, with code SYS.1002. Its cause is the
    /// error of [`ErrorCode::connect_failed`].
    pub fn add_failed(failure: &AttemptFailure, language: Language) -> Self {
        let cause = Self::connect_failed(failure, language);
        let mut error = Self::new("SYS.1002", cause.details.clone());
        error.language = language;
        error.opaque.clone_from(&cause.opaque);
        error.cause = Some(Box::new(cause));
        error
    }

    /// Creates the error of a store that could not be removed, with code SYS.1004. Its cause is the
    /// root cause.
    pub fn remove_failed(failure: &AttemptFailure, language: Language) -> Self {
        let root = failure.root_fault();
        let mut error = Self::of_failure("SYS.1004", failure, language)
            .with_opaque("reason", root.reason().as_str());
        error.cause = Some(Box::new(Self::from_fault("SYS.1006", root, language)));
        error
    }
}

/// Returns the text of a failure: its faults, each with its reason, the root cause first.
pub fn failure_text(failure: &AttemptFailure, language: Language) -> String {
    match language {
        Language::English => failure.to_string(),
        Language::Chinese => {
            let fault_text =
                |fault: &Fault| format!("{}：{}", fault.reason(), fault_details(fault, language));
            failure.all_faults().map(fault_text).collect::<Vec<_>>().join("；")
        }
    }
}

/// Returns the observation of a fault. In another language than English, it has the meaning of the
/// reason before it: the observation itself is evidence, often with the words of a peer.
fn fault_details(fault: &Fault, language: Language) -> Cow<'_, str> {
    annotated_phrase(reason_guidance(fault.reason()).meaning, fault.details(), language)
}

/// Creates one entry of `opaque.checks`.
fn check_entry(fault: &Fault, language: Language) -> Value {
    let mut entry: Map<String, Value> =
        fault.facts().iter().map(|(name, fact)| (name.clone(), fact_value(fact))).collect();
    entry.insert("check".to_owned(), fault.reason().failed_check().as_str().into());
    entry.insert("reason".to_owned(), fault.reason().as_str().into());
    entry.insert("details".to_owned(), fault_details(fault, language).into());
    entry.insert("elaboration".to_owned(), fault_action(fault, language).into());
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
            .with_recorded_remedy("mount /data");
        AttemptFailure::from_faults([ssh, storage]).unwrap()
    }

    #[test]
    fn the_root_cause_is_deepest_and_every_failed_check_is_listed() {
        let error =
            serde_json::to_value(ErrorCode::add_failed(&example_failure(), Language::English))
                .unwrap();
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
        let error =
            serde_json::to_value(ErrorCode::remove_failed(&example_failure(), Language::English))
                .unwrap();
        assert_eq!(error["code"], "SYS.1004");
        assert_eq!(error["description"], "Failed to delete a resource");
        assert_eq!(error["opaque"]["reason"], "not_mounted");
        assert_eq!(error["cause"]["elaboration"], "mount /data");
    }

    #[test]
    fn the_details_of_an_answer_end_with_the_short_remedy_of_the_root_cause() {
        let add =
            ErrorCode::add_failed(&example_failure(), Language::English).with_remedy_in_details();
        let add = serde_json::to_value(add).unwrap();
        let plain = "not_mounted: /data is not mounted; \
                     connection_refused: no process listens on 127.0.0.1:22";
        assert_eq!(add["details"], format!("{plain}; remedy: mount /data"));
        // The clients that show the first cause too get the remedy once.
        assert_eq!(add["cause"]["details"], plain);
        for reason in Reason::ALL {
            let failure = AttemptFailure::from_fault(Fault::new(*reason, "x"));
            let error =
                ErrorCode::connect_failed(&failure, Language::English).with_remedy_in_details();
            let (_, remedy) = error.details.split_once(REMEDY_MARK.en).unwrap();
            assert_eq!(remedy, reason_guidance(*reason).short_action(Language::English));
        }
        // A remedy for one case is complete, also if a condition comes before its action.
        let fault =
            Fault::new(Reason::PermissionDenied, "x").with_recorded_remedy("as root: chattr -i /a");
        let error =
            ErrorCode::connect_failed(&fault.into(), Language::English).with_remedy_in_details();
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
    fn a_fault_in_chinese_has_its_meaning_its_evidence_and_its_action() {
        let chinese = Language::Chinese;
        let failure = example_failure();
        let add = ErrorCode::add_failed(&failure, chinese).with_remedy_in_details();
        let add = serde_json::to_value(add).unwrap();
        let (mounted, refused) = (
            "镜像目录所在的磁盘没有挂载；挂载点下现在看到的是另一个目录（/data is not mounted）",
            "SSH 端口上没有服务在监听（no process listens on 127.0.0.1:22）",
        );
        let plain = format!("not_mounted：{mounted}；connection_refused：{refused}");
        // A remedy that was made for this case has one language.
        assert_eq!(add["details"], format!("{plain}；处理：mount /data"));
        assert_eq!(add["cause"]["details"], plain);
        assert_eq!(add["cause"]["cause"]["details"], mounted);
        assert_eq!(add["opaque"]["checks"][1]["details"], refused);
        let english = serde_json::to_value(ErrorCode::add_failed(&failure, Language::English));
        assert_eq!(add["description"], english.unwrap()["description"]);
        // The short form ends before the full-width colon.
        let fault = AttemptFailure::from_fault(Fault::new(Reason::WrongStore, "x"));
        let error = ErrorCode::connect_failed(&fault, chinese).with_remedy_in_details();
        assert!(error.details.ends_with("（x）；处理：挂载正确的磁盘"), "{}", error.details);
        let request = ErrorCode::new("SYS.1014", "no").with_elaboration("use another");
        let text = request.translated(chinese).with_remedy_in_details().details;
        assert_eq!(
            text,
            "该调用是已知的，但本代理不支持（no）；处理：使用 elaboration 中给出的调用（use another）"
        );
    }

    #[test]
    fn no_fact_overwrites_the_reason() {
        let fault = Fault::new(Reason::IoError, "x").with_detail("reason", "another");
        let error =
            serde_json::to_value(ErrorCode::from_fault("SYS.1006", &fault, Language::English))
                .unwrap();
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
