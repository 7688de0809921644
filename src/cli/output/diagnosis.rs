//! Formats a diagnosis as text: one line for what is well, and a block for what is not.

use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use super::store_line::{SHOWN_DIGITS, first_digits, lasting_status};
use super::{pad_to_width, raw_str_field, str_field};
use crate::catalog::{FINDING_LABELS, Language, Observation, Text, total_phrase, unchecked_phrase};
use crate::common::Timestamp;
use crate::diagnosis::destination_or_setting;

/// The number of columns of a label, with the blanks behind it.
const LABEL_WIDTH: usize = 10;
/// The name of the line about the daemon.
const DAEMON: &str = "imagestore-agent";

/// The findings of one subject: a store, or the daemon.
struct Subject<'a> {
    title: String,
    digits: String,
    status: String,
    /// The findings that are not well, the worst first.
    bad: Vec<&'a Value>,
    /// True if any check could run.
    is_checked: bool,
}

/// Formats the findings. `stores` are the stores of the daemon's summary, or `None` if they are not
/// known. `brief` leaves out what is well.
pub(crate) fn format_diagnosis(
    checks: &[Value],
    stores: Option<&[Value]>,
    brief: bool,
    now: Timestamp,
    language: Language,
) -> String {
    let mut subjects = vec![Subject {
        title: DAEMON.to_owned(),
        digits: String::new(),
        status: daemon_status(checks),
        bad: bad_findings(checks, ""),
        is_checked: is_checked(checks, ""),
    }];
    let listed = stores.unwrap_or_default().iter();
    subjects.extend(listed.map(|store| store_subject(store, checks, now, language)));
    // Without findings about the daemon, only stores were asked for.
    if !checks.iter().any(|check| check["store"].is_null()) {
        subjects.remove(0);
    }
    let width = subjects.iter().map(|subject| subject.title.width()).max().unwrap_or_default();
    let mut text = String::new();
    for subject in subjects.iter().filter(|subject| !brief || !subject.bad.is_empty()) {
        write_subject(subject, width, language, &mut text);
    }
    let verdicts = |verdict: &str| checks.iter().filter(|it| it["verdict"] == verdict).count();
    let (errors, warnings) = (verdicts("error"), verdicts("warning"));
    let worst = subjects.iter().flat_map(|subject| &subject.bad);
    let worst = worst.max_by_key(|finding| severity(finding));
    let worst = worst.map(|finding| store_label(finding, language));
    if !brief || worst.is_some() {
        let count = stores.map(<[Value]>::len);
        let total = match checks.iter().any(has_verdict) {
            true => total_phrase(count, errors, warnings, worst.as_deref(), language),
            false => unchecked_phrase(count, language),
        };
        text.push_str(&format!("{total}\n"));
    }
    text
}

/// Returns the subject of a finding and its word, such as `images is not_mounted`.
pub(crate) fn store_label(finding: &Value, language: Language) -> String {
    let store = finding.get("store").filter(|store| store.is_object());
    let word = match str_field(finding, "reason") {
        reason if reason.is_empty() => str_field(finding, "verdict"),
        reason => reason,
    };
    let subject = match store {
        Some(store) => str_field(store, "name"),
        None => str_field(finding, "id"),
    };
    match language {
        Language::English => format!("{subject} is {word}"),
        Language::Chinese => format!("{subject} 为 {word}"),
    }
}

fn severity(finding: &Value) -> u8 {
    match raw_str_field(finding, "verdict") {
        "error" => 2,
        "warning" => 1,
        _ => 0,
    }
}

/// Returns the findings of a store that are not well, or of the daemon for an empty uuid. The worst
/// ones come first, each in the order of the checks.
fn bad_findings<'a>(checks: &'a [Value], uuid: &str) -> Vec<&'a Value> {
    let is_bad = |check: &&Value| is_about(check, uuid) && severity(check) > 0;
    let mut bad: Vec<&Value> = checks.iter().filter(is_bad).collect();
    bad.sort_by_key(|finding| std::cmp::Reverse(severity(finding)));
    bad
}

fn is_about(check: &Value, uuid: &str) -> bool {
    check.pointer("/store/uuid").and_then(Value::as_str).unwrap_or_default() == uuid
}

fn is_checked(checks: &[Value], uuid: &str) -> bool {
    checks.iter().any(|check| is_about(check, uuid) && has_verdict(check))
}

/// Returns true if the check could run.
fn has_verdict(check: &Value) -> bool {
    check["verdict"] != "skipped"
}

fn daemon_status(checks: &[Value]) -> String {
    // A store can have such a finding too.
    let is_answers = |check: &&Value| check["id"] == "service.answers" && check["store"].is_null();
    let answers = checks.iter().find(is_answers);
    answers.map(|check| str_field(check, "summary")).unwrap_or_default()
}

fn store_subject<'a>(
    store: &Value,
    checks: &'a [Value],
    now: Timestamp,
    language: Language,
) -> Subject<'a> {
    let uuid = raw_str_field(store, "uuid");
    Subject {
        title: str_field(store, "name"),
        digits: first_digits(store),
        status: lasting_status(store, now, language),
        bad: bad_findings(checks, uuid),
        is_checked: is_checked(checks, uuid),
    }
}

fn write_subject(subject: &Subject<'_>, width: usize, language: Language, text: &mut String) {
    let worst = subject.bad.first();
    let mark = match worst.map(|finding| severity(finding)) {
        Some(2) => '×',
        Some(_) => '‼',
        None if subject.is_checked => '√',
        None => '-',
    };
    let reason = worst.map(|finding| {
        let (reason, id) = (str_field(finding, "reason"), str_field(finding, "id"));
        if reason.is_empty() { id } else { reason }
    });
    let title = pad_to_width(&subject.title, width);
    let digits = pad_to_width(&subject.digits, SHOWN_DIGITS);
    let line = format!("{mark} {title}  {digits}  {}", pad_to_width(&subject.status, 30));
    text.push_str(format!("{line}  {}", reason.unwrap_or_default()).trim_end());
    text.push('\n');
    for finding in &subject.bad {
        write_finding(finding, language, text);
    }
}

fn write_finding(finding: &Value, language: Language, text: &mut String) {
    let mut line = |label: Text, value: String| {
        if !value.is_empty() {
            let label = pad_to_width(label.marked(language), LABEL_WIDTH);
            text.push_str(&format!("    {label}{value}\n"));
        }
    };
    let labels = FINDING_LABELS;
    line(labels.found, str_field(finding, "summary"));
    line(labels.impact, str_field(finding, "impact"));
    let remedy = finding.get("remedy").map(|remedy| str_field(remedy, "text"));
    line(labels.action, remedy.unwrap_or_default());
    line(
        labels.reported,
        finding.get("reported").map(|it| reported(it, language)).unwrap_or_default(),
    );
    line(labels.see, str_field(finding, "see"));
}

fn reported(delivery: &Value, language: Language) -> String {
    let known = str_field(delivery, "destination");
    // No receiver is in use while none can be reached.
    let destination = destination_or_setting(Some(known.as_str()).filter(|it| !it.is_empty()));
    let pending = delivery.get("pending").and_then(Value::as_u64).unwrap_or_default();
    let reply = str_field(delivery, "lastReply");
    let count = pending.to_string();
    let observation = match (pending, known.is_empty(), reply.is_empty()) {
        (0, true, _) => return String::new(),
        (0, ..) => Observation::NoticesDelivered { destination },
        (_, _, true) => Observation::NoticesWait { pending: count, destination },
        (_, _, false) => Observation::NoticesRejected { pending: count, destination, reply },
    };
    observation.phrase(language)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> (Vec<Value>, Vec<Value>) {
        let store = |name: &str, uuid: &str| json!({"name": name, "uuid": uuid});
        let checks = vec![
            json!({"id": "service.answers", "store": null, "verdict": "ok", "summary": "the daemon answers"}),
            json!({"id": "mount", "store": store("images", "4cd9fb91ff"), "verdict": "error",
                   "summary": "the disk is gone", "impact": "images cannot be read",
                   "reason": "not_mounted", "remedy": {"text": "mount it", "commands": []},
                   "see": "imagestore-agent explain not_mounted",
                   "reported": {"destination": "mn-1:8080", "pending": 0}}),
            json!({"id": "space", "store": store("镜像", "77ab02c1ff"), "verdict": "ok",
                   "summary": "much"}),
        ];
        let stores = vec![
            json!({"name": "images", "uuid": "4cd9fb91ff", "status": "Disconnected",
                   "since": "2016-12-22T17:00:00Z"}),
            json!({"name": "镜像", "uuid": "77ab02c1ff", "status": "Connected",
                   "since": "2016-12-01T00:00:00Z"}),
        ];
        (checks, stores)
    }

    fn text(brief: bool, language: Language) -> String {
        let (checks, stores) = sample();
        let now = "2016-12-22T17:12:30Z".parse().unwrap();
        format_diagnosis(&checks, Some(&stores), brief, now, language)
    }

    #[test]
    fn what_is_well_has_a_line_and_what_is_not_has_a_block() {
        let expected = "\
√ imagestore-agent            the daemon answers
× images            4cd9fb91  Disconnected for 12 min         not_mounted
    found     the disk is gone
    impact    images cannot be read
    action    mount it
    reported  mn-1:8080 has every notice
    see       imagestore-agent explain not_mounted
√ 镜像              77ab02c1  Connected for 21 d
2 stores, 1 error, 0 warnings: images is not_mounted
";
        assert_eq!(text(false, Language::English), expected);
    }

    #[test]
    fn a_brief_text_has_only_what_is_not_well() {
        let brief = text(true, Language::English);
        assert!(brief.starts_with("× images") && !brief.contains('√'), "{brief}");
        let (checks, stores) = sample();
        let well = format_diagnosis(
            &checks[2..],
            Some(&stores[1..]),
            true,
            Timestamp(0),
            Language::English,
        );
        assert_eq!(well, "");
        let well = format_diagnosis(
            &checks[2..],
            Some(&stores[1..]),
            false,
            Timestamp(0),
            Language::English,
        );
        assert!(well.ends_with("1 store, all well\n") && !well.contains(DAEMON), "{well}");
    }

    #[test]
    fn a_subject_without_a_check_that_could_run_is_not_called_well() {
        let (mut checks, stores) = sample();
        for check in &mut checks {
            check["verdict"] = "skipped".into();
        }
        let formatted = |checks: &[Value], language| {
            format_diagnosis(checks, Some(&stores), false, Timestamp(0), language)
        };
        let text = formatted(&checks, Language::English);
        assert!(!text.contains('√') && text.contains("- images"), "{text}");
        assert!(text.ends_with("2 stores, and no check could run\n"), "{text}");
        assert!(formatted(&checks, Language::Chinese).contains("均未能运行"));
        // One that could run decides about its own subject only.
        checks[0]["verdict"] = "ok".into();
        let text = formatted(&checks, Language::English);
        assert!(text.contains("√ imagestore-agent") && text.contains("- images"), "{text}");
    }

    #[test]
    fn a_fault_of_a_store_is_not_the_status_of_the_daemon() {
        let (mut checks, stores) = sample();
        checks[0]["id"] = "state.writable".into();
        checks[1]["id"] = "service.answers".into();
        let text = format_diagnosis(&checks, Some(&stores), false, Timestamp(0), Language::English);
        assert_eq!(text.lines().next(), Some("√ imagestore-agent"), "{text}");
    }

    #[test]
    fn labels_line_up_in_chinese() {
        let chinese = text(false, Language::Chinese);
        for part in [
            "失联 (Disconnected) 12 分钟",
            "    现象      the disk is gone",
            "    上报      mn-1:8080 已收到全部通知",
            "1 个错误",
        ] {
            assert!(chinese.contains(part), "{part}: {chinese}");
        }
    }

    #[test]
    fn waiting_notices_without_a_receiver_name_the_setting() {
        let text = |delivery: Value| reported(&delivery, Language::English);
        for (pending, reply, expected) in [
            (0, json!(null), ""),
            (5, json!(null), "5 notices wait for callback.urls"),
            (
                5,
                json!("Connection refused"),
                "5 notices wait for callback.urls; last reply: Connection refused",
            ),
        ] {
            let delivery = json!({"destination": null, "pending": pending, "lastReply": reply});
            assert_eq!(text(delivery), expected);
        }
        let known = json!({"destination": "mn-1:8080", "pending": 0, "lastReply": null});
        assert_eq!(text(known), "mn-1:8080 has every notice");
    }
}
