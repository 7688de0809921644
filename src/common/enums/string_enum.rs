//! Enums whose variants have a fixed text, on the wire, in a file or in the ledger.
//!
//! The definition gives the text with its variant, so that a variant can be renamed without a
//! change of its text, and a search of the source finds a text from a log. `strum` derives the text
//! from the name of the variant by default, needs more lines if the text is given, and generates
//! methods without documentation.

/// The text names no variant of the enum that it was parsed as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown word {0:?}")]
pub struct UnknownVariant(pub String);

/// Defines an enum with a text for each variant: `ALL`, `as_str`, `Display` and `FromStr`.
macro_rules! string_enum {
    ($(#[$meta:meta])* $vis:vis $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $text:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name { $($(#[$variant_meta])* $variant),+ }

        #[allow(dead_code, reason = "not every enum needs all of them")]
        impl $name {
            /// Every variant, in declaration order.
            $vis const ALL: &'static [$name] = &[$($name::$variant),+];

            /// Returns the text of the variant.
            $vis const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::common::UnknownVariant;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok($name::$variant),)+
                    _ => Err($crate::common::UnknownVariant(text.to_owned())),
                }
            }
        }
    };
}
pub(crate) use string_enum;

#[cfg(test)]
mod tests {
    use super::*;

    string_enum! {
        /// Two colours.
        Colour {
            /// The first.
            Red = "red",
            /// The second.
            SkyBlue = "sky-blue",
        }
    }

    #[test]
    fn a_variant_and_its_text_lead_to_each_other() {
        assert_eq!(Colour::ALL, [Colour::Red, Colour::SkyBlue]);
        for colour in Colour::ALL {
            assert_eq!(colour.to_string().parse(), Ok(*colour));
        }
        assert_eq!(Colour::SkyBlue.as_str(), "sky-blue");
        assert_eq!("Red".parse::<Colour>(), Err(UnknownVariant("Red".to_owned())));
    }
}
