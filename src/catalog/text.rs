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
pub const PROGRAMS: [&str; 20] = [
    "btrfs",
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
    "lsblk",
    "resize2fs",
    "ss",
    "ssh",
    "ssh-keygen",
    "systemctl",
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
        spans(self.en).filter(|span| {
            let program = span.split(' ').next().unwrap_or_default();
            PROGRAMS.contains(&program)
        })
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
