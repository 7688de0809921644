//! The languages of the texts, and the one that a locale asks for.

use crate::common::string_enum;

string_enum! {
    /// A language of the texts.
    pub Language {
        /// English, as the documents are written.
        English = "en",
        /// Simplified Chinese, with the words of ZStack's own user interface.
        Chinese = "zh",
    }
}

impl Language {
    /// Returns the language of a program from the values of `LC_ALL`, `LC_MESSAGES` and `LANG`, in
    /// this order. The first one that is set and not empty decides, as for every program. Chinese
    /// is a locale whose language is `zh`; any other locale is English.
    pub fn from_locale<S: AsRef<str>>(variables: impl IntoIterator<Item = Option<S>>) -> Self {
        let mut values = variables.into_iter().flatten();
        let is_chinese = values.find(|value| !value.as_ref().is_empty()).is_some_and(|value| {
            let tag = value.as_ref().split(['_', '-', '.', '@']).next().unwrap_or_default();
            tag.eq_ignore_ascii_case("zh")
        });
        if is_chinese { Self::Chinese } else { Self::English }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_not_empty_decides() {
        for (variables, expected) in [
            ([None, None, Some("zh_CN.UTF-8")], Language::Chinese),
            ([None, None, Some("zh")], Language::Chinese),
            ([Some(""), Some("zh-Hans"), Some("en_US.UTF-8")], Language::Chinese),
            ([Some("C"), Some("zh_CN"), Some("zh_CN")], Language::English),
            ([Some("ZH_TW.Big5"), None, None], Language::Chinese),
            ([Some("zha_CN"), None, Some("zh_CN")], Language::English),
            ([None, None, None], Language::English),
        ] {
            assert_eq!(Language::from_locale(variables), expected, "{variables:?}");
        }
    }
}
