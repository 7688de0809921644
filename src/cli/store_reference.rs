//! The argument that names a store: its name, its uuid, or the first digits of its uuid. Pure.

use std::convert::Infallible;
use std::str::FromStr;

use crate::common::escape_hidden;
use crate::model::StoreUuid;

/// The minimum number of digits that identify a store. Fewer match another store too easily.
const MIN_PREFIX_DIGITS: usize = 6;
/// The maximum number of stores that an error about an ambiguous reference names.
const MAX_NAMED_STORES: usize = 5;

/// The text with which a command names a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreReference(String);

/// A store that a reference may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedStore {
    /// The uuid of the store.
    pub(crate) uuid: StoreUuid,
    /// The name of the store. Several stores may have the same one.
    pub(crate) name: String,
}

/// The reason why a reference does not name exactly one store.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It is neither a name nor a uuid.
    #[error(
        "no store has the name or the uuid \"{0}\" (imagestore-agent list shows the stores; a \
         store is named by its name, its uuid, or at least the first 6 digits of its uuid)"
    )]
    Unknown(String),
    /// It names several stores.
    #[error("\"{reference}\" names several stores, so give the uuid of one of them: {stores}")]
    Ambiguous {
        /// The reference.
        reference: String,
        /// Some of the stores that it names.
        stores: String,
    },
}

impl FromStr for StoreReference {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl From<StoreUuid> for StoreReference {
    fn from(uuid: StoreUuid) -> Self {
        Self(uuid.to_string())
    }
}

impl StoreReference {
    /// Returns the uuid if the reference is a whole one. It needs no list of the stores, and a
    /// command can name a store that is not listed any more.
    pub(super) fn as_uuid(&self) -> Option<StoreUuid> {
        self.digits().parse().ok()
    }

    /// Returns the store that the reference names. A store may be named by its exact name, or by
    /// the first digits of its uuid, in either case and with or without hyphens.
    ///
    /// # Errors
    /// [`ReferenceError`]. A text that is the name of one store and the beginning of another
    /// store's uuid is ambiguous, so that no command acts on a store that was not meant.
    pub(crate) fn resolve(&self, stores: &[ListedStore]) -> Result<StoreUuid, ReferenceError> {
        let digits = self.digits();
        let is_prefix = digits.len() >= MIN_PREFIX_DIGITS;
        let matches = |store: &&ListedStore| {
            store.name == self.0 || (is_prefix && store.uuid.to_string().starts_with(&digits))
        };
        let found: Vec<&ListedStore> = stores.iter().filter(matches).collect();
        match found.as_slice() {
            [] => Err(ReferenceError::Unknown(escape_hidden(&self.0))),
            [store] => Ok(store.uuid),
            several => {
                let named = several.iter().take(MAX_NAMED_STORES);
                let named =
                    named.map(|store| format!("{} ({})", store.uuid, escape_hidden(&store.name)));
                let mut named: Vec<String> = named.collect();
                let more = several.len().saturating_sub(named.len());
                if more > 0 {
                    named.push(format!("and {more} more"));
                }
                let reference = escape_hidden(&self.0);
                Err(ReferenceError::Ambiguous { reference, stores: named.join(", ") })
            }
        }
    }

    /// Returns the text as digits of a uuid.
    fn digits(&self) -> String {
        self.0.replace('-', "").to_ascii_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IMAGES: &str = "4cd9fb91a8cc4d4c9fb1a8cc4d4c9fb1";
    const BACKUPS: &str = "4cd9fb9177ab43f2b7cf0a1b2c3d4e5f";
    const THIRD: &str = "0123456789ab4def8123456789abcdef";

    fn stores() -> Vec<ListedStore> {
        let stores = [(IMAGES, "images"), (BACKUPS, "backups"), (THIRD, "4cd9fb91a8")];
        let listed = |(uuid, name): (&str, &str)| ListedStore {
            uuid: uuid.parse().unwrap(),
            name: name.to_owned(),
        };
        stores.map(listed).to_vec()
    }

    fn resolve(text: &str) -> Result<String, String> {
        let reference: StoreReference = text.parse().unwrap();
        let found = reference.resolve(&stores());
        found.map(|uuid| uuid.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_store_is_named_by_its_name_its_uuid_or_the_beginning_of_its_uuid() {
        for (text, expected) in [
            ("images", IMAGES),
            ("backups", BACKUPS),
            (IMAGES, IMAGES),
            ("4CD9FB91-77ab", BACKUPS),
            ("012345", THIRD),
            ("4cd9fb91a8cc", IMAGES),
        ] {
            assert_eq!(resolve(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_names_no_store_or_several_is_an_error_that_helps() {
        for (text, words) in [
            ("", "no store has the name or the uuid \"\""),
            ("Images", "no store"),
            ("01234", "at least the first 6 digits"),
            ("ffffff", "no store"),
            ("4cd9fb91", "names several stores"),
            ("\u{1b}[2J", r"\u{1b}[2J"),
        ] {
            let error = resolve(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        // The name of one store is the beginning of another's uuid.
        let error = resolve("4cd9fb91a8").unwrap_err();
        assert!(error.contains(IMAGES) && error.contains(THIRD), "{error}");
        let many: Vec<ListedStore> = (0..7)
            .flat_map(|_| stores())
            .map(|s| ListedStore { name: "same".into(), ..s })
            .collect();
        let error = StoreReference("same".to_owned()).resolve(&many).unwrap_err().to_string();
        assert!(error.ends_with("and 16 more"), "{error}");
    }

    #[test]
    fn only_a_whole_uuid_needs_no_list() {
        let as_uuid = |text: &str| StoreReference(text.to_owned()).as_uuid();
        assert_eq!(as_uuid(IMAGES).map(|uuid| uuid.to_string()).as_deref(), Some(IMAGES));
        assert_eq!(as_uuid("images"), None);
        assert_eq!(as_uuid("4cd9fb91"), None);
    }

    proptest! {
        #[test]
        fn every_unambiguous_beginning_of_a_uuid_names_its_store(digits in 9_usize..=32) {
            prop_assert_eq!(resolve(&BACKUPS[..digits]), Ok(BACKUPS.to_owned()));
        }
    }
}
