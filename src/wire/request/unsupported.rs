//! The calls of ZStack's SDK that the daemon knows but does not carry out.

use super::{InvalidBody, parse_document, select_action};
use crate::common::string_enum;

string_enum! {
    /// A call of ZStack's SDK that the daemon does not carry out. The text is the name of the call
    /// as the key of its body, or as it would be.
    pub UnsupportedCall {
        /// Free the space of deleted images.
        ReclaimSpace = "reclaimSpaceFromImageStore",
        /// Limit the space of image stores.
        SetQuota = "setImageStoreBackupStorageQuota",
        /// List the images of an image store.
        GetImages = "getImagesFromImageStoreBackupStorage",
        /// Write an image to a file for download.
        ExportImage = "exportImageFromBackupStorage",
        /// Delete such a file.
        DeleteExportedImage = "deleteExportedImageFromBackupStorage",
        /// Copy an image to another image store.
        SyncImage = "syncImageFromImageStoreBackupStorage",
        /// Copy an image back from another image store.
        RecoverImage = "recoveryImageFromImageStoreBackupStorage",
        /// List the trash.
        GetTrash = "getTrashOnBackupStorage",
        /// Empty the trash.
        CleanUpTrash = "cleanUpTrashOnBackupStorage",
        /// List the backups of the management node's database.
        GetDatabaseBackups = "getDatabaseBackupFromImageStore",
        /// Copy such a backup to another image store.
        SyncDatabaseBackup = "syncDatabaseBackupFromImageStoreBackupStorage",
        /// Add an image store for disaster recovery.
        AddDisasterStore = "addDisasterImageStoreBackupStorage",
    }
}

impl UnsupportedCall {
    /// Returns the action that a caller can take instead.
    pub fn alternative(self) -> &'static str {
        match self {
            Self::SetQuota => {
                "limit the directory itself with a project quota of XFS or ext4: the daemon \
                 reports the quota as the capacity of the store"
            }
            Self::AddDisasterStore => "add the directory with addImageStoreBackupStorage",
            _ => {
                "use the image service of the node: the daemon serves the status of the storage, \
                 and neither reads nor changes images"
            }
        }
    }

    /// Parses a body that must name one of `calls`, and returns the call.
    ///
    /// # Errors
    /// Returns [`InvalidBody`] if the body is no JSON object, or names no call or several.
    pub fn parse_call(calls: &[Self], body: &[u8]) -> Result<Self, InvalidBody> {
        let document = parse_document(body)?;
        let keys: Vec<_> = calls.iter().map(|call| call.as_str()).collect();
        let key = select_action(&document, &keys, &[])?;
        calls.iter().find(|call| call.as_str() == key).copied().ok_or(InvalidBody::NoAction(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_recognized_by_the_key_of_its_body() {
        let calls = [UnsupportedCall::SyncImage, UnsupportedCall::SetQuota];
        let body = br#"{"setImageStoreBackupStorageQuota":{"maxCapacity":1}}"#;
        assert_eq!(UnsupportedCall::parse_call(&calls, body), Ok(UnsupportedCall::SetQuota));
        for body in ["", "null", "{}", r#"{"changeImageState":{}}"#] {
            let error = UnsupportedCall::parse_call(&calls, body.as_bytes()).unwrap_err();
            let expected = "the body has no action; expected one of \
                            syncImageFromImageStoreBackupStorage, setImageStoreBackupStorageQuota";
            assert_eq!(error.to_string(), expected, "{body}");
        }
        assert!(UnsupportedCall::parse_call(&calls, b"[]").is_err());
    }

    #[test]
    fn every_call_has_an_alternative() {
        for call in UnsupportedCall::ALL {
            assert!(call.alternative().len() > 20, "{call}");
        }
    }
}
