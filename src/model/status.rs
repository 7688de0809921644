//! Status is health, state is the administrator's switch; the two are never swapped.

/// The word is none of those this type knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown word {0:?}")]
pub struct UnknownWord(pub String);

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word on the wire and in the ledger.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::model::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok($name::$variant),)+
                    _ => Err($crate::model::UnknownWord(text.to_owned())),
                }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// A store's health (`BackupStorageStatus`).
    Status {
        /// An attempt is running.
        Connecting = "Connecting",
        /// The last attempt succeeded and no fault has been decided since.
        Connected = "Connected",
        /// An attempt failed or a fault was decided.
        Disconnected = "Disconnected",
    }
}

words! {
    /// The administrator's switch (`BackupStorageState`). It stops neither probing nor reconnects.
    State {
        /// New images may be placed here.
        Enabled = "Enabled",
        /// No new images.
        Disabled = "Disabled",
    }
}
