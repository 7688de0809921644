//! The labels and short phrases of a diagnosis as text.

use std::borrow::Cow;
use std::time::Duration;

use crate::catalog::{Language, Text};
use crate::model::Status;

/// The labels of the lines of a finding.
#[derive(Clone, Copy, Debug)]
pub struct FindingLabels {
    /// The observation.
    pub found: Text,
    /// The effect.
    pub impact: Text,
    /// The action that helps.
    pub action: Text,
    /// The delivery of the notices.
    pub reported: Text,
    /// The command that explains more.
    pub see: Text,
}

/// The labels of the lines of a finding.
pub const FINDING_LABELS: FindingLabels = FindingLabels {
    found: Text { en: "found", zh: "现象" },
    impact: Text { en: "impact", zh: "影响" },
    action: Text { en: "action", zh: "处理" },
    reported: Text { en: "reported", zh: "上报" },
    see: Text { en: "see", zh: "参见" },
};

/// The first words of the lines that `doctor` writes beside its result.
#[derive(Clone, Copy, Debug)]
pub struct RoundLabels {
    /// Before the finding that it waits for.
    pub waiting: Text,
    /// Before a check that could not run.
    pub skipped: Text,
}

/// The first words of the lines that `doctor` writes beside its result.
pub const ROUND_LABELS: RoundLabels = RoundLabels {
    waiting: Text { en: "waiting: ", zh: "等待：" },
    skipped: Text { en: "skipped: ", zh: "跳过：" },
};

/// The words between the parts of a summary.
#[derive(Clone, Copy, Debug)]
pub struct SummaryLabels {
    /// Before an observation from the ledger, which is unchecked since the daemon ended.
    pub last_known: Text,
    /// After the observation of an attempt, if the check is good by now.
    pub good_again: Text,
    /// After the observation of a fault that may be temporary.
    pub stays_connected: Text,
    /// Before another observation of the same check.
    pub also: Text,
}

/// The words between the parts of a summary.
pub const SUMMARY_LABELS: SummaryLabels = SummaryLabels {
    last_known: Text { en: "last known: ", zh: "最后已知：" },
    good_again: Text { en: "; the check is good again", zh: "；该检查已恢复正常" },
    stays_connected: Text {
        en: " (the store stays connected until this repeats)",
        zh: "（再次出现之前，镜像服务器保持连接）",
    },
    also: Text { en: "; also: ", zh: "；另外：" },
};

/// Returns an English observation in a language. In another language than English, it has the
/// meaning of its word before it: the observation itself is evidence, often with the words of a
/// peer.
pub fn annotated_phrase(meaning: Text, observation: &str, language: Language) -> Cow<'_, str> {
    match language {
        Language::English => Cow::Borrowed(observation),
        Language::Chinese => {
            let meaning = meaning.plain(language);
            Cow::Owned(format!("{}（{observation}）", meaning.trim_end_matches('。')))
        }
    }
}

/// Returns a duration in its largest unit, such as `12 min`. It is rounded down.
pub fn duration_phrase(span: Duration, language: Language) -> String {
    let seconds = span.as_secs();
    let (number, unit) = match seconds {
        0..60 => (seconds, Text { en: "s", zh: "秒" }),
        60..3_600 => (seconds / 60, Text { en: "min", zh: "分钟" }),
        3_600..172_800 => (seconds / 3_600, Text { en: "h", zh: "小时" }),
        _ => (seconds / 86_400, Text { en: "d", zh: "天" }),
    };
    format!("{number} {}", unit.marked(language))
}

/// Returns a status with the time for which it has lasted.
pub fn status_phrase(status: Status, lasted: Option<Duration>, language: Language) -> String {
    let name = match (language, status) {
        (Language::English, status) => status.as_str(),
        (Language::Chinese, Status::Connected) => "已连接 (Connected)",
        (Language::Chinese, Status::Connecting) => "连接中 (Connecting)",
        (Language::Chinese, Status::Disconnected) => "失联 (Disconnected)",
    };
    match (lasted.map(|lasted| duration_phrase(lasted, language)), language) {
        (None, _) => name.to_owned(),
        (Some(lasted), Language::English) => format!("{name} for {lasted}"),
        (Some(lasted), Language::Chinese) => format!("{name} {lasted}"),
    }
}

/// Returns the status from the ledger, which is unchecked since the daemon ended.
pub fn last_known_phrase(status: Status, language: Language) -> String {
    let status = status_phrase(status, None, language);
    match language {
        Language::English => format!("last known: {status}"),
        Language::Chinese => format!("最后已知：{status}"),
    }
}

/// Returns the number of stores, if it is known.
fn count_phrase(stores: Option<usize>, language: Language) -> String {
    match (stores, language) {
        (Some(1), Language::English) => "1 store".to_owned(),
        (Some(stores), Language::English) => format!("{stores} stores"),
        (Some(stores), Language::Chinese) => format!("{stores} 个镜像服务器"),
        (None, Language::English) => "stores not known".to_owned(),
        (None, Language::Chinese) => "镜像服务器数量未知".to_owned(),
    }
}

/// Returns the last line of a diagnosis: the number of stores, if it is known, and of those
/// findings that are not well, with the worst one.
pub fn total_phrase(
    stores: Option<usize>,
    errors: usize,
    warnings: usize,
    worst: Option<&str>,
    language: Language,
) -> String {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let head = count_phrase(stores, language);
    match (language, worst) {
        (Language::English, None) if stores.is_none() => format!("{head}, the rest is well"),
        (Language::Chinese, None) if stores.is_none() => format!("{head}，其余正常"),
        (Language::English, None) => format!("{head}, all well"),
        (Language::Chinese, None) => format!("{head}，均正常"),
        (Language::English, Some(worst)) => format!(
            "{head}, {errors} error{}, {warnings} warning{}: {worst}",
            plural(errors),
            plural(warnings)
        ),
        (Language::Chinese, Some(worst)) => {
            format!("{head}，{errors} 个错误，{warnings} 个警告：{worst}")
        }
    }
}

/// Returns the last line of a diagnosis in which no check could run.
pub fn unchecked_phrase(stores: Option<usize>, language: Language) -> String {
    let head = count_phrase(stores, language);
    match language {
        Language::English => format!("{head}, and no check could run"),
        Language::Chinese => format!("{head}，所有检查均未能运行"),
    }
}

/// Returns the line about requested checks that were not made.
pub fn unmade_phrase(unmade: usize, language: Language) -> String {
    match language {
        Language::English if unmade == 1 => "1 requested check was not made".to_owned(),
        Language::English => format!("{unmade} requested checks were not made"),
        Language::Chinese => format!("{unmade} 项请求的检查未执行"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_its_largest_unit() {
        for (seconds, en, zh) in [
            (0, "0 s", "0 秒"),
            (59, "59 s", "59 秒"),
            (60, "1 min", "1 分钟"),
            (7_199, "1 h", "1 小时"),
            (172_799, "47 h", "47 小时"),
            (172_800, "2 d", "2 天"),
            (41 * 86_400, "41 d", "41 天"),
        ] {
            let span = Duration::from_secs(seconds);
            assert_eq!(duration_phrase(span, Language::English), en);
            assert_eq!(duration_phrase(span, Language::Chinese), zh);
        }
    }

    #[test]
    fn the_last_line_names_the_worst_finding() {
        let english = |errors, warnings, worst| {
            total_phrase(Some(2), errors, warnings, worst, Language::English)
        };
        assert_eq!(english(0, 0, None), "2 stores, all well");
        assert_eq!(
            english(1, 0, Some("images is not_mounted")),
            "2 stores, 1 error, 0 warnings: images is not_mounted"
        );
        for (stores, en, zh) in [
            (Some(1), "1 store, all well", "1 个镜像服务器，均正常"),
            (None, "stores not known, the rest is well", "镜像服务器数量未知，其余正常"),
        ] {
            assert_eq!(total_phrase(stores, 0, 0, None, Language::English), en);
            assert_eq!(total_phrase(stores, 0, 0, None, Language::Chinese), zh);
        }
        let lasted = Some(Duration::from_secs(720));
        let phrase = |language| status_phrase(Status::Disconnected, lasted, language);
        assert_eq!(phrase(Language::English), "Disconnected for 12 min");
        assert_eq!(phrase(Language::Chinese), "失联 (Disconnected) 12 分钟");
        let known = |language| last_known_phrase(Status::Connected, language);
        assert_eq!(known(Language::English), "last known: Connected");
        assert_eq!(known(Language::Chinese), "最后已知：已连接 (Connected)");
    }
}
