//! The command `explain`: the meaning of a word or a message. It needs no daemon and no settings.

use std::fmt::Write as _;
use std::io;

use serde_json::{Map, Value, json};
use unicode_width::UnicodeWidthStr as _;

use super::args::ExplainArgs;
use crate::catalog::{
    Advice, Guidance, KnownMessage, Language, Runbook, RunbookText, Text, Topic, closest_words,
    condition_guidance, find_topics, reason_guidance,
};
use crate::common::{print_json, print_text, report_text};
use crate::model::{Check, Reason};

/// The version of the JSON output. Only an incompatible change raises it.
const OUTPUT_VERSION: u32 = 1;

/// Columns of the labels, without the two blanks on each side.
const LABEL_COLUMNS: usize = 9;

/// Most characters of an unknown text that are repeated.
const MAX_REPEATED: usize = 60;

const MEANING: Text = Text { en: "meaning", zh: "含义" };
const IMPACT: Text = Text { en: "impact", zh: "影响" };
const ACTION: Text = Text { en: "action", zh: "处理" };
const CAUSES: Text = Text { en: "causes", zh: "可能原因" };
const RUNBOOK: Text = Text { en: "runbook", zh: "操作手册" };

/// Explains a word on stdout, or names the closest known words on stderr. `--json` prints both on
/// stdout. Returns true if the word is known.
///
/// # Errors
/// Returns the error of a write to stdout.
pub fn explain_word(args: &ExplainArgs, locale: Language) -> io::Result<bool> {
    let language = args.lang.unwrap_or(locale);
    let word = args.words.join(" ");
    let topics = find_topics(&word);
    let is_known = !topics.is_empty();
    if args.json {
        let mut document = json!({
            "outputVersion": OUTPUT_VERSION,
            "language": language.as_str(),
            "word": word,
            "entries": topics.iter().map(|topic| entry(topic, language)).collect::<Vec<_>>(),
        });
        if !is_known && let Some(document) = document.as_object_mut() {
            document.insert("closest".to_owned(), json!(closest_words(&word)));
        }
        print_json(&document)?;
    } else if is_known {
        let entries: Vec<String> = topics.iter().map(|topic| paragraph(topic, language)).collect();
        print_text(&entries.join("\n"))?;
    } else {
        report_text(&unknown_word(&word, language));
    }
    Ok(is_known)
}

fn unknown_word(word: &str, language: Language) -> String {
    let mut shown: String = word.chars().take(MAX_REPEATED).collect();
    if shown.len() < word.len() {
        shown.push_str("...");
    }
    // Line feeds of the word must not begin a line of the message.
    let shown = shown.replace(['\n', '\r'], " ");
    let closest = closest_words(word).join(", ");
    match (language, closest.is_empty()) {
        (Language::English, true) => format!("unknown word: {shown}\n"),
        (Language::English, false) => format!("unknown word: {shown}\n  closest: {closest}\n"),
        (Language::Chinese, true) => format!("未知的词：{shown}\n"),
        (Language::Chinese, false) => format!("未知的词：{shown}\n  相近的词：{closest}\n"),
    }
}

/// Returns the word of a topic, and its kind in a few words.
fn heading(topic: &Topic, language: Language) -> (String, Text) {
    match topic {
        Topic::Reason(reason) => (reason.to_string(), reason_kind(*reason)),
        Topic::Condition(condition) => (
            condition.to_string(),
            Text {
                en: "a condition, which disconnects no store",
                zh: "告警，不会使镜像服务器失联 (Disconnected)",
            },
        ),
        Topic::Check(check) => {
            (check.to_string(), Text { en: "a check of doctor", zh: "doctor 的检查项" })
        }
        Topic::Exit(cause) => (cause.to_string(), Text { en: "an exit code", zh: "退出码" }),
        Topic::Code(code) => {
            (code.to_string(), Text { en: "an error code of ZStack", zh: "ZStack 错误码" })
        }
        Topic::Message(message) => (
            message_form(message, language).to_owned(),
            Text { en: "a message of the management node", zh: "管理节点的消息" },
        ),
        Topic::Runbook(runbook) => (runbook.to_string(), Text { en: "a runbook", zh: "操作手册" }),
        Topic::Term(term) => (term.word.to_owned(), term.kind.text()),
    }
}

const fn reason_kind(reason: Reason) -> Text {
    match (reason.failed_check(), reason.is_soft()) {
        (Check::Agent, _) => Text {
            en: "a reason of the daemon itself",
            zh: "故障原因，属于代理自身，与镜像服务器无关",
        },
        (_, true) => Text {
            en: "a reason, soft: several in a row disconnect the store",
            zh: "故障原因，软故障：连续多次才会失联 (Disconnected)",
        },
        (_, false) => Text {
            en: "a reason, hard: it disconnects the store at once",
            zh: "故障原因，硬故障：立即失联 (Disconnected)",
        },
    }
}

/// Returns the first form of a message in a language.
fn message_form(message: &KnownMessage, language: Language) -> &'static str {
    let is_english = language == Language::English;
    let of_language = message.forms.iter().find(|form| form.is_ascii() == is_english);
    of_language.or(message.forms.first()).copied().unwrap_or_default()
}

fn paragraph(topic: &Topic, language: Language) -> String {
    let (word, kind) = heading(topic, language);
    let kind = kind.marked(language);
    let mut text = match language {
        Language::English => format!("{word}: {kind}\n"),
        Language::Chinese => format!("{word}：{kind}\n"),
    };
    let mut line = |label: Text, value: &str| {
        let label = label.marked(language);
        let blanks = " ".repeat(LABEL_COLUMNS.saturating_sub(label.width()));
        // A write into a string cannot fail.
        let _ = writeln!(text, "  {label}{blanks} {value}");
    };
    match topic {
        Topic::Reason(_) | Topic::Condition(_) | Topic::Check(_) => {
            let guidance = guidance(topic);
            let Some(Guidance { meaning, impact, action }) = guidance else { return text };
            for (label, value) in [(MEANING, meaning), (IMPACT, impact), (ACTION, action)] {
                line(label, value.marked(language));
            }
        }
        Topic::Exit(_) | Topic::Code(_) => {
            let Some(Advice { meaning, action }) = advice(topic) else { return text };
            line(MEANING, meaning.marked(language));
            line(ACTION, action.marked(language));
        }
        Topic::Message(message) => {
            line(MEANING, message.meaning.marked(language));
            for (place, (word, meaning)) in causes(message).enumerate() {
                let label = if place == 0 { CAUSES } else { Text { en: "", zh: "" } };
                line(label, &format!("{}. {word}  {}", place + 1, meaning.marked(language)));
            }
            line(ACTION, message.action.marked(language));
            if let Some(runbook) = message.runbook {
                line(RUNBOOK, &runbook_command(runbook));
            }
        }
        Topic::Term(term) => {
            line(MEANING, term.meaning.marked(language));
            if let Some(runbook) = term.runbook {
                line(RUNBOOK, &runbook_command(runbook));
            }
        }
        Topic::Runbook(runbook) => {
            let RunbookText { title, situation, steps } = runbook.text();
            line(MEANING, title.marked(language));
            line(Text { en: "signs", zh: "现象" }, situation.marked(language));
            for (place, step) in steps.iter().enumerate() {
                let label = if place == 0 { ACTION } else { Text { en: "", zh: "" } };
                line(label, &format!("{}. {}", place + 1, step.marked(language)));
            }
        }
    }
    text
}

fn runbook_command(runbook: Runbook) -> String {
    format!("imagestore-agent explain {runbook}")
}

fn guidance(topic: &Topic) -> Option<Guidance> {
    match topic {
        Topic::Reason(reason) => Some(reason_guidance(*reason)),
        Topic::Condition(condition) => Some(condition_guidance(*condition)),
        Topic::Check(check) => Some(check.guidance()),
        _ => None,
    }
}

fn advice(topic: &Topic) -> Option<Advice> {
    match topic {
        Topic::Exit(cause) => Some(cause.advice()),
        Topic::Code(code) => Some(code.advice()),
        _ => None,
    }
}

/// Returns the words behind a message with their meanings, the most likely one first.
fn causes(message: &KnownMessage) -> impl Iterator<Item = (&'static str, Text)> {
    let reasons = message.reasons.iter().map(|it| (it.as_str(), reason_guidance(*it).meaning));
    let conditions =
        message.conditions.iter().map(|it| (it.as_str(), condition_guidance(*it).meaning));
    reasons.chain(conditions)
}

/// Returns a topic as an object. Its texts have no backticks; `commands` has the commands in them.
fn entry(topic: &Topic, language: Language) -> Value {
    let (word, _) = heading(topic, language);
    let mut fields = Map::new();
    let mut add = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    let plain = |text: Text| Value::from(text.plain(language).into_owned());
    let commands = |text: Text| Value::from(text.commands().collect::<Vec<_>>());
    add("word", word.into());
    let kind = match topic {
        Topic::Reason(reason) => {
            add("check", reason.failed_check().as_str().into());
            add("pace", if reason.is_soft() { "soft" } else { "hard" }.into());
            "reason"
        }
        Topic::Condition(_) => "condition",
        Topic::Check(_) => "check",
        Topic::Exit(_) => "exit_code",
        Topic::Code(_) => "zstack_code",
        Topic::Message(_) => "message",
        Topic::Runbook(_) => "runbook",
        Topic::Term(term) => term.kind.as_str(),
    };
    add("kind", kind.into());
    if let Some(Guidance { meaning, impact, action }) = guidance(topic) {
        add("meaning", plain(meaning));
        add("impact", plain(impact));
        add("action", plain(action));
        add("commands", commands(action));
    }
    if let Some(Advice { meaning, action }) = advice(topic) {
        add("meaning", plain(meaning));
        add("action", plain(action));
        add("commands", commands(action));
    }
    match topic {
        Topic::Message(message) => {
            let words = |words: Vec<&'static str>| Value::from(words);
            add("meaning", plain(message.meaning));
            add("action", plain(message.action));
            add("commands", commands(message.action));
            add("reasons", words(message.reasons.iter().map(|it| it.as_str()).collect()));
            add("conditions", words(message.conditions.iter().map(|it| it.as_str()).collect()));
            if let Some(runbook) = message.runbook {
                add("runbook", runbook.as_str().into());
            }
        }
        Topic::Term(term) => {
            add("meaning", plain(term.meaning));
            if let Some(runbook) = term.runbook {
                add("runbook", runbook.as_str().into());
            }
        }
        Topic::Runbook(runbook) => {
            let RunbookText { title, situation, steps } = runbook.text();
            add("title", plain(title));
            add("situation", plain(situation));
            add("steps", steps.iter().map(|step| plain(*step)).collect());
            let commands = steps.iter().flat_map(|step| step.commands());
            add("commands", Value::from(commands.collect::<Vec<_>>()));
        }
        _ => {}
    }
    Value::Object(fields)
}
