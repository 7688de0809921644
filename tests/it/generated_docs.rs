//! The documents that the catalog generates. `UPDATE_DOCS=1` writes them.

use std::fs;
use std::path::Path;

use imagestore_agent::catalog::{
    Advice, DoctorCheck, ExitCause, KNOWN_MESSAGES, Language, Runbook, Text, ZstackCode,
    condition_guidance, reason_guidance,
};
use imagestore_agent::metrics::FAMILIES;
use imagestore_agent::model::{Check, Condition, Reason};
use serde_json::Value;

/// Maximum width of a line of English prose, in characters.
const MAX_LINE_CHARS: usize = 120;

/// Compares a document with its generated text, or writes it.
pub(crate) fn assert_document(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let present = fs::read_to_string(&path).unwrap_or_default();
    let hint = "UPDATE_DOCS=1 cargo test --test it generated_docs";
    let line = present.lines().zip(text.lines()).position(|(a, b)| a != b);
    assert!(present == text, "{name} differs in line {line:?}: run {hint}");
}

fn row(cells: &[&str]) -> String {
    assert!(cells.iter().all(|cell| !cell.contains('|')), "{cells:?}");
    format!("| {} |\n", cells.join(" | "))
}

fn table(heads: &[&str], rows: impl IntoIterator<Item = String>) -> String {
    let line = format!("|{}\n", "---|".repeat(heads.len()));
    row(heads) + &line + &rows.into_iter().collect::<String>()
}

fn code(word: impl std::fmt::Display) -> String {
    format!("`{word}`")
}

fn reasons_of(check: Check) -> String {
    let reasons = Reason::ALL.iter().filter(|reason| reason.failed_check() == check);
    let rows = reasons.map(|reason| {
        let it = reason_guidance(*reason);
        let pace = if reason.is_soft() { "软" } else { "硬" };
        row(&[&code(reason), pace, it.meaning.zh, it.impact.zh, it.action.zh])
    });
    table(&["原因", "级别", "含义", "影响", "处理"], rows)
}

fn advice_table(head: &str, entries: impl Iterator<Item = (String, Advice)>) -> String {
    let rows = entries.map(|(word, it)| row(&[&word, it.meaning.zh, it.action.zh]));
    table(&[head, "含义", "处理"], rows)
}

fn chinese_faults() -> String {
    let mut text = String::from(
        "# 故障与告警\n\n\
         本页由程序中的文本生成，测试会比对两者。英文版见 [faults.md](../faults.md)，操作手册见 \
         [runbooks.md](runbooks.md)。\n\n\
         节点上无需联网即可查询：`imagestore-agent explain 词 --lang zh`。也可以直接粘贴整段错误信息。\n\n\
         级别：硬故障会立即使镜像服务器失联 (Disconnected)；软故障连续出现 `monitor.fail_after` 次才会失联。\n",
    );
    for (title, check) in [
        ("目录是否正确", Check::Identity),
        ("目录能否使用", Check::Storage),
        ("能否登录", Check::Ssh),
        ("代理自身", Check::Agent),
    ] {
        text += &format!("\n## {title}\n\n{}", reasons_of(check));
    }
    let conditions = Condition::ALL.iter().map(|condition| {
        let it = condition_guidance(*condition);
        row(&[&code(condition), it.meaning.zh, it.impact.zh, it.action.zh])
    });
    text += "\n## 告警\n\n告警需要处理，但不会使镜像服务器失联 (Disconnected)。\n\n";
    text += &table(&["告警", "含义", "影响", "处理"], conditions);
    text += "\n## doctor 的检查项\n\n";
    let checks = DoctorCheck::ALL.iter().map(|check| {
        let it = check.guidance();
        row(&[&code(check), it.meaning.zh, it.impact.zh, it.action.zh])
    });
    text += &table(&["检查项", "含义", "影响", "处理"], checks);
    text += "\n## 退出码\n\n";
    text += &advice_table("退出码", ExitCause::ALL.iter().map(|it| (it.to_string(), it.advice())));
    text += "\n## ZStack 错误码\n\n";
    text += &advice_table("错误码", ZstackCode::ALL.iter().map(|it| (code(it), it.advice())));
    text += "\n## 管理节点的消息\n";
    for message in KNOWN_MESSAGES {
        let forms = message.forms.iter().map(|form| format!("* {}\n", code(form)));
        text +=
            &format!("\n### {}\n\n{}\n", message_title(message.forms), forms.collect::<String>());
        text += &format!("{}\n\n", message.meaning.zh);
        let reasons = message.reasons.iter().map(|it| (it.as_str(), reason_guidance(*it).meaning));
        let conditions =
            message.conditions.iter().map(|it| (it.as_str(), condition_guidance(*it).meaning));
        let causes: Vec<String> = reasons
            .chain(conditions)
            .enumerate()
            .map(|(place, (word, meaning))| {
                format!("{}. {}：{}\n", place + 1, code(word), meaning.zh)
            })
            .collect();
        if !causes.is_empty() {
            text += &format!("可能原因，按可能性从高到低：\n\n{}\n", causes.concat());
        }
        text += &format!("处理：{}\n", message.action.zh);
        if let Some(runbook) = message.runbook {
            text += &format!("\n操作手册：[{}](runbooks.md#{runbook})\n", runbook.text().title.zh);
        }
    }
    text
}

/// Returns the first Chinese form of a message, without its placeholders.
fn message_title(forms: &[&str]) -> String {
    let chinese = forms.iter().find(|form| !form.is_ascii()).unwrap();
    let mut depth = 0;
    let mut title = String::new();
    for c in chinese.chars() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ if depth == 0 => title.push(c),
            _ => {}
        }
    }
    title
}

/// Breaks a paragraph into lines, each after the first with this indent.
fn wrapped(paragraph: &str, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for word in paragraph.split(' ') {
        let line = lines.last().unwrap();
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > MAX_LINE_CHARS {
            lines.push(format!("{indent}{word}"));
        } else {
            let line = lines.last_mut().unwrap();
            let blank = if line.is_empty() { "" } else { " " };
            *line += &format!("{blank}{word}");
        }
    }
    lines.join("\n") + "\n"
}

fn runbooks(language: Language, head: &str) -> String {
    let mut text = head.to_owned();
    let paragraph = |text: &str, indent: &str| match language {
        Language::English => wrapped(text, indent),
        // A line break between two Chinese characters would be shown as a blank.
        Language::Chinese => format!("{text}\n"),
    };
    for runbook in Runbook::ALL {
        let it = runbook.text();
        // The name of the anchor is the same in both languages.
        text += &format!("\n<a id=\"{runbook}\"></a>\n\n## {}\n\n", it.title.marked(language));
        text += &paragraph(it.situation.marked(language), "");
        text += "\n";
        for (place, step) in it.marked_steps(language).enumerate() {
            text += &paragraph(&format!("{}. {step}", place + 1), "   ");
        }
    }
    text
}

#[test]
fn the_chinese_faults_are_those_of_the_catalog() {
    assert_document("docs/zh/faults.md", &chinese_faults());
}

#[test]
fn the_runbooks_are_those_of_the_catalog() {
    let english = "# Runbooks\n\nThe catalog of the program has these texts too: `imagestore-agent explain \
                   NAME`, with the name in the anchor of a\nrunbook, prints one without a network. A test \
                   compares them. In Chinese: [zh/runbooks.md](zh/runbooks.md).\n";
    assert_document("docs/runbooks.md", &runbooks(Language::English, english));
    let chinese = "# 操作手册\n\n本页由程序中的文本生成，测试会比对两者。英文版见 \
                   [runbooks.md](../runbooks.md)。\n\n节点上无需联网即可查看：\
                   `imagestore-agent explain 名称 --lang zh`，也可以用标题查询，例如 \
                   `imagestore-agent explain 一直连接中`。\n";
    assert_document("docs/zh/runbooks.md", &runbooks(Language::Chinese, chinese));
}

/// The schemas of the description of the API whose words have a meaning in the catalog.
fn described_words() -> Vec<(&'static str, Vec<(&'static str, Text)>)> {
    let reasons = Reason::ALL.iter().map(|it| (it.as_str(), reason_guidance(*it).meaning));
    let conditions = Condition::ALL.iter().map(|it| (it.as_str(), condition_guidance(*it).meaning));
    let checks = DoctorCheck::ALL.iter().map(|it| (it.as_str(), it.guidance().meaning));
    let codes = ZstackCode::ALL.iter().map(|it| (it.as_str(), it.advice().meaning));
    vec![
        ("Reason", reasons.collect()),
        ("ConditionType", conditions.collect()),
        ("DoctorCheck", checks.collect()),
        ("ErrorCodeWord", codes.collect()),
    ]
}

/// Returns the description of the API with the meanings of the words of one schema: after the first
/// paragraph of its description in English, and in every language in `x-enum-descriptions`.
fn with_meanings(document: &str, schema: &str, words: &[(&str, Text)]) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let head = format!("\n      \"{schema}\": {{\n");
    let start = document.find(&head).unwrap() + head.len();
    let end = start + document[start..].find("\n      }").unwrap();
    let mut lines = document[start..end].lines();
    let mut kept = String::new();
    for line in lines.by_ref() {
        let Some(old) = line.trim().strip_prefix("\"description\": ") else {
            kept += &format!("{line}\n");
            continue;
        };
        let old: String = serde_json::from_str(old.trim_end_matches(',')).unwrap();
        let first = old.split("\n\n").next().unwrap();
        let list: Vec<String> =
            words.iter().map(|(word, text)| format!("* `{word}`: {}", text.en)).collect();
        let description = format!("{first}\n\n{}", list.join("\n"));
        kept += &format!("        \"description\": {},\n", quoted(&description));
        break;
    }
    // The list of the words ends the other fields.
    for line in lines {
        kept += line.trim_end_matches(',');
        if line.trim().starts_with(']') {
            break;
        }
        let is_cut = line.ends_with(',');
        kept += if is_cut { ",\n" } else { "\n" };
    }
    let languages = [Language::English, Language::Chinese].map(|language| {
        let rows: Vec<String> = words
            .iter()
            .map(|(word, text)| {
                format!("            {}: {}", quoted(word), quoted(text.marked(language)))
            })
            .collect();
        format!("          \"{language}\": {{\n{}\n          }}", rows.join(",\n"))
    });
    kept +=
        &format!(",\n        \"x-enum-descriptions\": {{\n{}\n        }}", languages.join(",\n"));
    format!("{}{kept}{}", &document[..start], &document[end..])
}

#[test]
fn the_words_of_the_api_have_the_meanings_of_the_catalog() {
    const NAME: &str = "docs/openapi.json";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(NAME);
    let mut document = fs::read_to_string(path).unwrap();
    for (schema, words) in described_words() {
        document = with_meanings(&document, schema, &words);
    }
    let parsed: Value = serde_json::from_str(&document).unwrap();
    for (schema, words) in described_words() {
        let schema = &parsed["components"]["schemas"][schema];
        let description = schema["description"].as_str().unwrap();
        for (word, text) in &words {
            assert!(description.contains(&format!("\n* `{word}`: {}", text.en)), "{word}");
            assert_eq!(schema["x-enum-descriptions"]["en"][word], text.en);
            assert_eq!(schema["x-enum-descriptions"]["zh"][word], text.zh);
        }
        for language in ["en", "zh"] {
            let described = schema["x-enum-descriptions"][language].as_object().unwrap();
            let listed = schema["enum"].as_array().unwrap();
            assert!(listed.iter().all(|word| described.contains_key(word.as_str().unwrap())));
            assert_eq!(described.len(), listed.len(), "{schema}");
        }
    }
    assert_document(NAME, &document);
}

#[test]
fn a_long_paragraph_is_broken_between_words() {
    let text = wrapped(&"word ".repeat(60), "   ");
    assert!(text.lines().count() > 2 && text.lines().all(|line| line.len() <= MAX_LINE_CHARS));
    assert!(text.lines().skip(1).all(|line| line.starts_with("   word")));
}

#[test]
fn the_table_of_the_metrics_is_that_of_the_program() {
    let rows = FAMILIES.iter().map(|family| {
        let labels: Vec<String> = family.labels.iter().map(code).collect();
        let name = code(family.full_name());
        row(&[&name, family.kind.as_str(), &labels.join(", "), family.help])
    });
    let table = table(&["metric", "type", "labels", "meaning"], rows);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let present = fs::read_to_string(path).unwrap();
    let (head, rest) = present.split_once("UPDATE_DOCS=1 -->\n").unwrap();
    let (_, tail) = rest.split_once("<!-- end -->").unwrap();
    let text = format!("{head}UPDATE_DOCS=1 -->\n\n{table}\n<!-- end -->{tail}");
    assert_document("docs/metrics.md", &text);
}
