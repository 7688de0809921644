//! Enums whose variants have a word and named texts as operands, such as the cases of a text with
//! placeholders.

/// Defines an enum with a word and operands for each variant: `WORDS`, `word`, `operands` and
/// `from_parts`.
macro_rules! operand_enum {
    ($(#[$meta:meta])* $vis:vis $name:ident {
        $($variant:ident $word:literal $({ $($operand:ident),+ })?;)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis enum $name {
            $(
                #[doc = concat!("`", $word, "`")]
                $variant $({ $(
                    #[doc = concat!("The operand `", stringify!($operand), "`.")]
                    $operand: String
                ),+ })?
            ),+
        }

        #[allow(dead_code, reason = "not every enum needs all of them")]
        impl $name {
            /// The word of every variant.
            $vis const WORDS: &'static [&'static str] = &[$($word),+];

            /// Returns the word of the variant.
            $vis const fn word(&self) -> &'static str {
                match self { $(Self::$variant $({ $($operand: _),+ })? => $word),+ }
            }

            /// Returns the operands with their names.
            $vis fn operands(&self) -> Vec<(&'static str, &str)> {
                match self {
                    $(Self::$variant $({ $($operand),+ })? => {
                        vec![$($((stringify!($operand), $operand.as_str())),+)?]
                    })+
                }
            }

            /// Returns the variant with this word, and with the operands that `operand` returns for
            /// their names. Returns `None` if there is no such word or an operand is missing.
            $vis fn from_parts(
                word: &str,
                mut operand: impl FnMut(&str) -> Option<String>,
            ) -> Option<Self> {
                Some(match word {
                    $($word => Self::$variant $({
                        $($operand: operand(stringify!($operand))?),+
                    })?,)+
                    _ => return None,
                })
            }
        }
    };
}
pub(crate) use operand_enum;
