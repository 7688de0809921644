//! Finds the exit code in a text of systemd, a shell, a container runtime or an operator.

use crate::catalog::ExitCause;

/// Words that say that a process ended. A number behind one of them is its exit code.
const EXIT_WORDS: [&str; 12] = [
    "exit",
    "exited",
    "exitcode",
    "exitstatus",
    "execmainstatus",
    "returncode",
    "return",
    "rc",
    "退出码",
    "退出代码",
    "退出状态",
    "返回码",
];

/// Words between such a word and the number, or alone before the number in a text without more.
const WORDS_BETWEEN: [&str; 8] = ["code", "status", "value", "with", "is", "was", "为", "是"];

/// Chinese words before the number, if the text says elsewhere that the process has exited.
const CHINESE_WORDS: [&str; 2] = ["状态", "代码"];

/// A word or a number of a text, in lower case.
#[derive(Debug)]
struct Token {
    text: String,
    /// True if it is a whole number: without a minus before it, and without decimals.
    is_number: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CharClass {
    /// Latin letters, digits, and the point in a number or a name.
    Ascii,
    /// Letters of other scripts.
    Other,
    Minus,
    Separator,
}

/// Returns the causes of the exit codes in a text, each once: `status=64/USAGE`, `exited with code
/// 64`, `Exited (64)`, `退出码：64`. The number of a signal (`code=killed, status=9/KILL`) is none.
pub(super) fn exit_causes(text: &str) -> Vec<ExitCause> {
    let tokens = tokens(text);
    let mut causes: Vec<ExitCause> = Vec::new();
    for (place, token) in tokens.iter().enumerate().filter(|(_, token)| token.is_number) {
        let Ok(cause) = token.text.parse::<ExitCause>() else { continue };
        let before = tokens.get(..place).unwrap_or_default();
        let after = tokens.get(place.saturating_add(1)..).unwrap_or_default();
        if is_exit_code(before, after, cause) && !causes.contains(&cause) {
            causes.push(cause);
        }
    }
    causes
}

/// Returns true if the number between these tokens is an exit code.
fn is_exit_code(before: &[Token], after: &[Token], cause: ExitCause) -> bool {
    let is_between = |token: &&Token| WORDS_BETWEEN.contains(&token.text.as_str());
    let Some(token) = before.iter().rev().find(|token| !is_between(token)) else {
        // The whole text is the number, with a word before it and its name behind it.
        return after.iter().all(|token| {
            ["ex", cause.system_name().unwrap_or_default()].contains(&token.text.as_str())
        });
    };
    let word = token.text.trim_end_matches(['为', '是']);
    // A Chinese word has no blank before it.
    let is_exit_word = |known: &str| match known.is_ascii() {
        true => word == known,
        false => word.ends_with(known),
    };
    let has_exited = || before.iter().chain(after).any(|token| token.text.contains("退出"));
    EXIT_WORDS.iter().any(|known| is_exit_word(known))
        || CHINESE_WORDS.iter().any(|known| word.ends_with(known)) && has_exited()
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    // The two classes before the present one tell a minus from a hyphen.
    let (mut before, mut last) = (CharClass::Separator, CharClass::Separator);
    for run in text.chars().collect::<Vec<_>>().chunk_by(|a, b| class(*a) == class(*b)) {
        let here = run.first().map_or(CharClass::Separator, |c| class(*c));
        let run: String = run.iter().flat_map(|c| c.to_lowercase()).collect();
        let word = run.trim_matches('.');
        if matches!(here, CharClass::Ascii | CharClass::Other) && !word.is_empty() {
            let is_negative = last == CharClass::Minus && before == CharClass::Separator;
            let is_number = !is_negative && word.bytes().all(|byte| byte.is_ascii_digit());
            tokens.push(Token { text: word.to_owned(), is_number });
        }
        (before, last) = (last, here);
    }
    tokens
}

fn class(c: char) -> CharClass {
    match c {
        '.' => CharClass::Ascii,
        '-' => CharClass::Minus,
        _ if c.is_ascii_alphanumeric() => CharClass::Ascii,
        _ if c.is_alphanumeric() => CharClass::Other,
        _ => CharClass::Separator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_found_in_each_form() {
        for text in [
            "status=64/USAGE",
            "code=exited, status=64/USAGE",
            "imagestore-agent.service: Main process exited, code=exited, status=64/USAGE",
            "Process: 12 ExecStart=/usr/bin/imagestore-agent serve (code=exited, status=64/USAGE)",
            "ExecMainStatus=64",
            "64/USAGE",
            "64 (EX_USAGE)",
            "exit 64",
            "exit=64",
            "exit-64",
            "exit_code=64",
            "exit code 64.",
            "Exit Code: 64",
            "exit status: 64",
            "exit code was 64",
            "code 64",
            "status 64",
            "rc=64",
            "$?=64",
            "exited with code 64",
            "Process exited with status 64 after 3 s",
            "returned non-zero exit status 64",
            "Exited (64) 3 minutes ago",
            r#"{"exitCode": 64, "signal": 0}"#,
            "退出码 64",
            "退出码：64",
            "退出码为64",
            "进程以退出码64退出",
            "进程以状态 64 退出",
            "返回码=64",
        ] {
            assert_eq!(exit_causes(text), [ExitCause::Settings], "{text}");
        }
        for cause in ExitCause::ALL {
            let name = cause.system_name().unwrap_or("n/a");
            let line =
                format!("a.service: Main process exited, code=exited, status={cause}/{name}");
            assert_eq!(exit_causes(&line.to_uppercase()), [*cause], "{line}");
        }
        let two = "first exit code 75, then exit code 69, then exit code 75";
        assert_eq!(exit_causes(two), [ExitCause::Locked, ExitCause::Bind]);
    }

    #[test]
    fn another_number_is_no_exit_code() {
        for text in [
            "",
            "code=killed, status=1/HUP",
            "code=killed, status=2/INT",
            "code=dumped, status=1",
            "exit code -1",
            "exit code 1.5",
            "exit code 0x40",
            "exit code 64f0",
            "exit code 3",
            "exit code 064",
            "the receiver answered status 64",
            "65 notices wait",
            "状态 64 未知",
            "SYS.1006",
            "exited after 2 min",
        ] {
            assert_eq!(exit_causes(text), [], "{text}");
        }
    }
}
