//! Secrets are sealed, and a lost key destroys nothing.

use super::*;
use crate::catalog::{Language, fault_action};
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn reason(result: Result<SshCredentials, Fault>) -> Reason {
    result.unwrap_err().reason()
}

#[tokio::test]
async fn a_secret_is_nowhere_in_the_state_directory_in_the_clear() {
    let place = TestStateDir::new();
    let opened = place.open();
    opened.ledger.commit(added(1)).await.unwrap();
    let read = opened.ledger.credentials(&store(1)).await.unwrap();
    assert_eq!(read.password.unwrap().expose_secret(), PASSWORD);
    assert!(read.private_key.is_none());
    let mut files = 0;
    for entry in fs::read_dir(place.path()).unwrap().map(Result::unwrap) {
        let bytes = fs::read(entry.path()).unwrap();
        files += 1;
        let found = bytes.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes());
        assert!(!found, "{:?}", entry.path());
    }
    assert!(files >= 3, "ledger, log, key");
    opened.writer.close_ledger().await;
}

fn write_private(file: &Path, bytes: &[u8]) {
    fs::write(file, bytes).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(file, mode).unwrap();
}

#[tokio::test]
async fn a_commit_can_be_followed_by_its_store_and_shows_no_secret() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(Arc::new(log.reopen().unwrap()))
        .finish();
    let _log = tracing::subscriber::set_default(subscriber);
    let place = TestStateDir::new();
    let opened = place.open();
    opened.ledger.commit(added(1)).await.unwrap();
    opened.ledger.commit(added(1)).await.unwrap_err();
    let text = fs::read_to_string(log.path()).unwrap();
    let commits: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["span"]["name"] == "commit")
        .map(|line| (line["span"]["store"].clone(), line["fields"]["made"].clone()))
        .collect();
    let store = serde_json::Value::from(uuid(1).to_string());
    assert_eq!(commits, [(store.clone(), true.into()), (store, false.into())]);
    assert!(!text.contains(PASSWORD));
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_missing_or_wrong_master_key_overwrites_nothing_and_comes_back() {
    let place = TestStateDir::new();
    let opened = place.open();
    opened.ledger.commit(added(1)).await.unwrap();
    opened.writer.close_ledger().await;
    let file = place.path().join("master-key");
    let key = fs::read(&file).unwrap();

    fs::remove_file(&file).unwrap();
    let opened = place.open();
    assert_eq!(reason(opened.ledger.credentials(&store(1)).await), Reason::SecretUnreadable);
    let refused = opened.ledger.commit(added(2)).await;
    assert!(matches!(refused, Err(crate::ledger::CommitError::Unsealable(_))), "{refused:?}");
    opened.writer.close_ledger().await;
    assert!(!file.exists(), "a new key would make the loss final");

    // Neither waited for nor replaced.
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let opened = place.open();
    assert_eq!(reason(opened.ledger.credentials(&store(1)).await), Reason::SecretUnreadable);
    opened.writer.close_ledger().await;
    fs::remove_file(&file).unwrap();

    for wrong in [vec![9; 32], b"too short".to_vec(), Vec::new()] {
        write_private(&file, &wrong);
        let opened = place.open();
        assert_eq!(opened.stores.len(), 1, "the store is served all the same");
        assert_eq!(reason(opened.ledger.credentials(&store(1)).await), Reason::SecretUnreadable);
        opened.writer.close_ledger().await;
        assert_eq!(fs::read(&file).unwrap(), wrong);
    }

    write_private(&file, data_encoding::BASE64.encode(&key).as_bytes());
    let opened = place.open();
    let read = opened.ledger.credentials(&store(1)).await.unwrap();
    assert_eq!(read.password.unwrap().expose_secret(), PASSWORD);
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_disk_error_and_a_changed_secret_have_different_reasons() {
    let place = TestStateDir::new();
    let opened = place.open();
    opened.ledger.commit(added(1)).await.unwrap();
    let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
    sqlite.execute_batch("UPDATE secrets SET sum = x'00'").unwrap();
    assert_eq!(reason(opened.ledger.credentials(&store(1)).await), Reason::SecretUnreadable);
    // As near as a test comes to a bad sector: SQLite cannot read the table.
    sqlite.execute_batch("DROP TABLE secrets").unwrap();
    let fault = opened.ledger.credentials(&store(1)).await.unwrap_err();
    assert_eq!(fault.reason(), Reason::StateDiskTrouble);
    assert!(
        fault_action(&fault, Language::English).contains("state.dir"),
        "{}",
        fault_action(&fault, Language::English)
    );
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_sealed_secret_serves_its_own_store_and_field_alone() {
    let place = TestStateDir::new();
    let opened = place.open();
    opened.ledger.commit(added(1)).await.unwrap();
    opened.ledger.commit(added(2)).await.unwrap();
    opened.writer.close_ledger().await;
    let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
    // An attacker could do this to log in to one host with another host's password.
    let sealed: Vec<u8> = sqlite
        .query_row("SELECT sealed FROM secrets WHERE store = ?1", [uuid(1).to_string()], |r| {
            r.get(0)
        })
        .unwrap();
    let sum = crate::ledger::tables::row_checksum(&[
        uuid(2).to_string().as_bytes(),
        b"password",
        &sealed,
    ]);
    sqlite
        .execute(
            "UPDATE secrets SET sealed = ?1, sum = ?2 WHERE store = ?3",
            rusqlite::params![sealed, sum, uuid(2).to_string()],
        )
        .unwrap();
    crate::ledger::tables::contents::record_contents(&sqlite).unwrap();
    drop(sqlite);
    let opened = place.open();
    opened.ledger.credentials(&store(1)).await.unwrap();
    assert_eq!(reason(opened.ledger.credentials(&store(2)).await), Reason::SecretUnreadable);
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn secrets_are_handed_out_only_for_the_login_that_they_belong_to() {
    let place = TestStateDir::new();
    let opened = place.open();
    let before = store(1);
    let add =
        LedgerChange::new().add_store(before.clone(), credentials(), durable(Status::Connected));
    opened.ledger.commit(add).await.unwrap();
    let moved =
        Store { credentials_address: other_address(), address: other_address(), ..store(1) };
    let secret = SshCredentials::password(Secret::new("for the other server".to_owned()));
    let change = LedgerChange::new().save_store(moved.clone()).replace_secrets(uuid(1), secret);
    opened.ledger.commit(change).await.unwrap();
    // A reader with a snapshot from before the update gets none of them.
    assert_eq!(reason(opened.ledger.credentials(&before).await), Reason::AgentBusy);
    for other in [
        Store { username: "other".to_owned(), ..moved.clone() },
        Store { pinned_key: None, ..moved.clone() },
        Store { credentials_address: address(), ..moved.clone() },
        Store { given_fingerprints: Vec::new(), ..moved.clone() },
    ] {
        assert_eq!(reason(opened.ledger.credentials(&other).await), Reason::AgentBusy);
    }
    // A first host key that is observed, and not committed, is no other login.
    let unpinned = Store { pinned_key: None, ..moved.clone() };
    opened.ledger.commit(LedgerChange::new().save_store(unpinned.clone())).await.unwrap();
    for observed in [unpinned, moved.clone()] {
        opened.ledger.credentials(&observed).await.unwrap();
    }
    opened.ledger.commit(LedgerChange::new().save_store(moved.clone())).await.unwrap();
    // The rest of the definition does not matter.
    let renamed = Store { name: "renamed".to_owned(), changed: Timestamp(9), ..moved.clone() };
    let read = opened.ledger.credentials(&renamed).await.unwrap();
    assert_eq!(read.password.unwrap().expose_secret(), "for the other server");
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn the_address_that_secrets_were_given_for_is_durable() {
    let place = TestStateDir::new();
    let opened = place.open();
    let elsewhere = Store { credentials_address: other_address(), ..store(1) };
    for definition in [elsewhere.clone(), store(2)] {
        let add =
            LedgerChange::new().add_store(definition, credentials(), durable(Status::Connected));
        opened.ledger.commit(add).await.unwrap();
    }
    opened.writer.close_ledger().await;
    let opened = place.open();
    let read: Vec<&Store> = opened.stores.iter().map(|loaded| &loaded.store).collect();
    assert_eq!(read, [&elsewhere, &store(2)]);
    opened.writer.close_ledger().await;
}

fn other_address() -> SshAddress {
    SshAddress { hostname: "node-9".parse().unwrap(), port: 22.try_into().unwrap() }
}
