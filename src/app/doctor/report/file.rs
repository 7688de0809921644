//! The file of the report.
#![expect(clippy::disallowed_methods, reason = "the file that the operator names")]

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::common::{escape_json_hidden, print_bytes, run_blocking};

/// Maximum time to write the file. Its disk may hang.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes the report to a new file that only this user can read, or to the standard output. The
/// file must not exist: a report never replaces a file, and follows no symbolic link. A file that
/// cannot be completed is removed.
///
/// # Errors
/// Returns the reason why the report was not written.
pub(in crate::app::doctor) async fn write_report_file(
    target: &Path,
    is_stdout: bool,
    report: &Value,
) -> Result<(), String> {
    let text = serde_json::to_string_pretty(report).map_err(|error| error.to_string())?;
    let bytes = format!("{}\n", escape_json_hidden(&text)).into_bytes();
    let path: PathBuf = target.to_owned();
    let write = move || match is_stdout {
        true => print_bytes(&bytes).map(drop),
        false => write_new(&path, &bytes),
    };
    let written = match is_stdout {
        // The reader may be slow, and a signal still ends this command.
        true => run_blocking(Instant::now() + Duration::from_secs(24 * 60 * 60), write).await,
        false => run_blocking(Instant::now() + WRITE_TIMEOUT, write).await,
    };
    let shown = target.display();
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(format!("{shown} exists, and a report replaces no file: name another one"))
        }
        Ok(Err(error)) => Err(format!("cannot write {shown}: {error}")),
        Err(error) => Err(format!("cannot write {shown}: {error}")),
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // `create_new` is O_EXCL, with which the last name may be no symbolic link (open(2)).
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // A part of a report would look like one.
        let _ = fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[tokio::test]
    async fn a_report_is_a_new_file_of_its_user_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        let report = serde_json::json!({"a": "\u{202e}"});
        write_report_file(&path, false, &report).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"a\": \"\\u202e\"\n}\n");
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        symlink(&target, &link).unwrap();
        for taken in [&path, &link] {
            let error = write_report_file(taken, false, &Value::Null).await.unwrap_err();
            assert!(error.contains("exists, and a report replaces no file"), "{error}");
        }
        assert!(!target.exists() && fs::read_to_string(&path).unwrap().contains("\"a\""));
        let nowhere = dir.path().join("no folder").join("report");
        let error = write_report_file(&nowhere, false, &report).await.unwrap_err();
        assert!(error.starts_with("cannot write") && error.contains("No such file"), "{error}");
        // A disk without space: what was written is removed.
        let full = write_report_file(Path::new("/dev/full/report"), false, &report).await;
        assert!(full.is_err());
    }
}
