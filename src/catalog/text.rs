//! A text in every language, and the commands in it.

use std::borrow::Cow;

use super::Language;

/// A text in every language. What must not be translated is in backticks: commands, settings, paths
/// and field names. It is the same in all languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// The English text.
    pub en: &'static str,
    /// The Chinese text.
    pub zh: &'static str,
}

/// The programs whose calls stand in texts, in order.
pub const PROGRAMS: [&str; 33] = [
    "btrfs",
    "chattr",
    "chown",
    "chronyc",
    "df",
    "dmesg",
    "faillock",
    "findmnt",
    "fsck",
    "fscrypt",
    "imagestore-agent",
    "ip",
    "journalctl",
    "kinit",
    "lsattr",
    "lsblk",
    "mknod",
    "mount",
    "openssl",
    "puttygen",
    "resize2fs",
    "setfacl",
    "sg_persist",
    "smartctl",
    "ss",
    "ssh",
    "ssh-keygen",
    "sysctl",
    "systemctl",
    "timedatectl",
    "umount",
    "xfs_growfs",
    "xfs_repair",
];

impl Text {
    /// Returns the text in one language, with its backticks.
    pub const fn marked(self, language: Language) -> &'static str {
        match language {
            Language::English => self.en,
            Language::Chinese => self.zh,
        }
    }

    /// Returns the text in one language, without its backticks.
    pub fn plain(self, language: Language) -> Cow<'static, str> {
        unmark(self.marked(language))
    }

    /// Returns the commands of the text: the parts in backticks that begin with a program.
    pub fn commands(self) -> impl Iterator<Item = &'static str> {
        spans(self.en).filter(|span| is_command(span))
    }

    /// Returns the text in one language, without its backticks, and with an operand in place of
    /// each name in braces. A shell reads an operand of a command as one word.
    pub(super) fn filled(self, language: Language, operands: &[(&str, &str)]) -> Cow<'static, str> {
        if operands.is_empty() {
            return self.plain(language);
        }
        let mut filled = String::new();
        for (index, part) in self.marked(language).split('`').enumerate() {
            let is_span = index % 2 == 1;
            fill_part(part, is_span && is_command(part), operands, &mut filled);
        }
        Cow::Owned(filled)
    }

    /// Returns the commands of the text, with an operand in place of each name in braces.
    pub(super) fn filled_commands(self, operands: &[(&str, &str)]) -> Vec<String> {
        let fill = |command| {
            let mut filled = String::new();
            fill_part(command, true, operands, &mut filled);
            filled
        };
        self.commands().map(fill).collect()
    }
}

fn is_command(span: &str) -> bool {
    PROGRAMS.contains(&span.split(' ').next().unwrap_or_default())
}

/// Appends a part of a text with its operands. A name in braces that has no operand stays.
fn fill_part(part: &str, is_command: bool, operands: &[(&str, &str)], filled: &mut String) {
    let mut pieces = part.split('{');
    filled.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let Some((name, rest)) = piece.split_once('}') else {
            filled.push('{');
            filled.push_str(piece);
            continue;
        };
        match operands.iter().find(|(known, _)| *known == name) {
            Some((_, operand)) if is_command => push_shell_word(operand, filled),
            Some((_, operand)) => filled.push_str(operand),
            None => filled.extend(["{", name, "}"]),
        }
        filled.push_str(rest);
    }
}

/// Appends a text that a shell reads as one word, in quotes if it needs them.
fn push_shell_word(text: &str, filled: &mut String) {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=".contains(c);
    match text.chars().all(is_plain) {
        true => filled.push_str(text),
        false => filled.extend(["'", &text.replace('\'', r"'\''"), "'"]),
    }
}

/// Returns the text without its backticks.
pub(super) fn unmark(text: &'static str) -> Cow<'static, str> {
    match text.contains('`') {
        true => Cow::Owned(text.replace('`', "")),
        false => Cow::Borrowed(text),
    }
}

/// Returns the parts of a text that stand in backticks.
pub(super) fn spans(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split('`').skip(1).step_by(2)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The characters of Chinese texts that are no punctuation.
    fn is_cjk(c: char) -> bool {
        matches!(c, '\u{4e00}'..='\u{9fff}')
    }

    /// Texts of ZStack's user interface that have a half-width bracket after a Chinese word.
    const STATUSES: [&str; 3] =
        ["已连接 (Connected)", "连接中 (Connecting)", "失联 (Disconnected)"];

    /// Words that a Chinese text must not have, each with the one word for the same thing: that of
    /// ZStack's user interface, or of the daemon.
    const OTHER_WORDS: [(&str, &str); 13] = [
        ("备份存储", "镜像服务器"),
        ("镜像存储", "镜像仓库"),
        ("重新连接", "重连"),
        ("断开连接", "失联 (Disconnected)"),
        ("已断开", "失联 (Disconnected)"),
        ("正在连接", "连接中 (Connecting)"),
        ("主机名", "物理机名"),
        ("登陆", "登录"),
        ("帐号", "账号"),
        ("账本", "状态数据库"),
        ("作业", "任务"),
        ("检测", "探测"),
        ("系统盘", "根磁盘"),
    ];

    /// Returns the names in braces of a text.
    pub(in crate::catalog) fn names_in_braces(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).map(|piece| piece.split_once('}').unwrap().0).collect()
    }

    /// Asserts that the two languages of a text agree, and that each keeps its rules.
    pub(in crate::catalog) fn assert_text(of: &str, text: Text) {
        let Text { en, zh } = text;
        assert!(en.is_ascii(), "{of}: {en}");
        assert!(!en.trim().is_empty() && !zh.trim().is_empty(), "{of}");
        assert!(zh.chars().any(is_cjk), "{of}: {zh}");
        for text in [en, zh] {
            assert_eq!(text.matches('`').count() % 2, 0, "{of}: {text}");
            assert!(!text.contains("  ") && text.trim() == text, "{of}: {text}");
            assert!(!text.contains('\n'), "{of}: {text}");
        }
        // The order of words differs between the languages, but not the set of what they name.
        let sorted = |text| {
            let mut spans: Vec<_> = spans(text).collect();
            spans.sort_unstable();
            spans
        };
        assert_eq!(sorted(en), sorted(zh), "{of}");
        let mut bare: String = zh.split('`').step_by(2).collect();
        for status in STATUSES {
            bare = bare.replace(status, "");
        }
        assert!(!bare.contains([',', ';', ':', '!', '?', '(', ')', '"']), "{of}: {zh}");
        for word in ["Connected", "Connecting", "Disconnected"] {
            assert!(!bare.contains(word), "{of}: {zh}");
        }
        for (word, better) in OTHER_WORDS {
            assert!(!zh.contains(word), "{of}: {word:?} instead of {better:?}: {zh}");
        }
    }

    #[test]
    fn a_command_is_a_part_that_begins_with_a_program() {
        let text = Text {
            en: "run `umount /data`, then set `storage.full`; see `dmesg`",
            zh: "运行 `umount /data`，再设置 `storage.full`；查看 `dmesg`",
        };
        assert_text("the example", text);
        assert_eq!(text.commands().collect::<Vec<_>>(), ["umount /data", "dmesg"]);
        assert_eq!(
            text.plain(Language::English),
            "run umount /data, then set storage.full; see dmesg"
        );
        let plain = Text { en: "do nothing", zh: "无需处理" };
        assert!(matches!(plain.plain(Language::Chinese), Cow::Borrowed("无需处理")));
    }

    #[test]
    fn an_operand_takes_the_place_of_its_name() {
        let text = Text {
            en: "move {path} away (`umount {path}`), or set `x = {n}`; {other}",
            zh: "把 {path} 移走（`umount {path}`），或设置 `x = {n}`；{other}",
        };
        for (path, word) in [
            ("/data", "/data"),
            ("/镜像", "/镜像"),
            ("/a b", "'/a b'"),
            ("/$(x)", "'/$(x)'"),
            ("/it's", r"'/it'\''s'"),
            ("/{n}`", "'/{n}`'"),
        ] {
            let operands = [("path", path), ("n", "1 2")];
            assert_eq!(
                text.filled(Language::English, &operands),
                format!("move {path} away (umount {word}), or set x = 1 2; {{other}}")
            );
            assert_eq!(
                text.filled(Language::Chinese, &operands),
                format!("把 {path} 移走（umount {word}），或设置 x = 1 2；{{other}}")
            );
            assert_eq!(text.filled_commands(&operands), [format!("umount {word}")]);
        }
        let open = Text { en: "a { b", zh: "甲 { 乙" };
        assert_eq!(open.filled(Language::English, &[("b", "c")]), "a { b");
    }

    #[test]
    fn the_chinese_readme_has_the_words_of_the_texts() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.zh-CN.md");
        let readme = std::fs::read_to_string(path).unwrap();
        for (word, better) in OTHER_WORDS {
            assert!(!readme.contains(word), "{word:?} instead of {better:?}");
        }
    }

    #[test]
    fn the_programs_are_sorted_and_named_once() {
        assert!(PROGRAMS.is_sorted());
        assert_eq!(PROGRAMS.iter().collect::<BTreeSet<_>>().len(), PROGRAMS.len());
    }
}
