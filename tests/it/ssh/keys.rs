//! Private keys made by `ssh-keygen` and `openssl`: each is opened, or its fault says why not. The
//! key is read before the server is dialled, so a key that was opened leads to a refused
//! connection.

use std::path::Path;

use imagestore_agent::model::{Fact, Fault, Reason, SshCredentials};
use imagestore_agent::ssh::LoginRequest;
use tokio::net::TcpSocket;

use crate::ssh::{expect, login, secret, verify};
use crate::support::raw_ssh_server::RawSshServer;
use crate::support::requirements::run;

/// Runs a shell script in a new folder and returns the text of its file `key`.
fn key_by(script: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    run("sh", &["-ec", &format!("cd {folder}; {{ {script}; }} 2>/dev/null")]);
    std::fs::read_to_string(Path::new(folder).join("key")).unwrap()
}

/// Returns the fault of a login with the key at a port where no server listens.
async fn fault_of(key: &str, passphrase: Option<&str>) -> Fault {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let credentials = SshCredentials {
        password: None,
        private_key: Some(secret(key)),
        passphrase: passphrase.map(secret),
    };
    verify(&login(socket.local_addr().unwrap(), "anyone", credentials)).await.unwrap_err()
}

const PASS: Option<&str> = Some("open sesame");
const RSA: &str = "openssl genrsa -traditional";
const PKCS8: &str = "openssl genrsa -out plain 2048; openssl pkcs8 -topk8 -in plain -out key -passout 'pass:open sesame'";

#[tokio::test]
async fn a_key_of_each_supported_format_is_opened() {
    for (script, passphrase) in [
        (format!("{RSA} -aes128 -passout 'pass:open sesame' -out key 2048"), PASS),
        (format!("{RSA} -out key 2048"), None),
        (format!("{PKCS8} -v2 aes-256-cbc"), PASS),
        (format!("{PKCS8} -v2 aes-256-cbc -v2prf hmacWithSHA1"), PASS),
        (format!("{PKCS8} -v2 des3"), PASS),
        (format!("{PKCS8} -scrypt"), PASS),
        ("openssl ecparam -genkey -name prime256v1 -out key".to_owned(), None),
        ("openssl genpkey -algorithm ed25519 -out key".to_owned(), None),
        ("ssh-keygen -q -t ed25519 -f key -N 'open sesame' -Z aes256-gcm@openssh.com".into(), PASS),
        // A passphrase of a key that is not encrypted.
        ("ssh-keygen -q -t ed25519 -f key -N ''".to_owned(), PASS),
        // Line ends of Windows, with spaces at the ends of the lines.
        ("ssh-keygen -q -t ed25519 -f key -N ''; sed -i 's/$/ \\r/' key".to_owned(), None),
        // A public key before the private one.
        ("ssh-keygen -q -t ed25519 -f k -N ''; cat k.pub k > key".to_owned(), None),
    ] {
        let fault = fault_of(&key_by(&script), passphrase).await;
        assert_eq!(fault.reason(), Reason::ConnectionRefused, "{script}: {fault:?}");
    }
}

#[tokio::test]
async fn each_unusable_key_has_a_sentence_and_a_remedy_of_its_own() {
    const REWRITE: &str = "ssh-keygen -p -f";
    const REWRITE_PKCS8: &str = "openssl pkcs8 -topk8 -v2 aes-256-cbc";
    let plain = "ssh-keygen -q -t ed25519 -N '' -f";
    let sesame = "-passout 'pass:open sesame'";
    for (script, passphrase, cause, remedy) in [
        (format!("{RSA} -aes256 {sesame} -out key 2048"), PASS, "with AES-256-CBC", REWRITE),
        (format!("{RSA} -des3 {sesame} -out key 2048"), PASS, "with DES-EDE3-CBC", REWRITE),
        (format!("{RSA} -des3 {sesame} -out key 2048"), None, "with DES-EDE3-CBC", REWRITE),
        (
            format!(
                "openssl ecparam -genkey -name prime256v1 | openssl ec -aes128 {sesame} -out key"
            ),
            PASS,
            "with AES-128-CBC of an EC key",
            REWRITE,
        ),
        (format!("{PKCS8} -v2 camellia-256-cbc"), PASS, "with CAMELLIA-256-CBC", REWRITE_PKCS8),
        (format!("{PKCS8} -v1 PBE-SHA1-3DES"), PASS, "with PBE-SHA1-3DES", REWRITE_PKCS8),
        (
            "ssh-keygen -q -t ed25519 -f key -N 'open sesame' -Z 3des-cbc".into(),
            PASS,
            "with 3des-cbc",
            REWRITE,
        ),
        (format!("{PKCS8} -v2 des3"), Some("shut"), "passphrase does not decrypt", "correct"),
        (format!("{PKCS8} -v2 des3"), None, "has no passphrase", "give the store the passphrase"),
        (
            format!("{RSA} -aes128 {sesame} -out key 2048"),
            Some("shut"),
            "passphrase does not decrypt",
            "correct",
        ),
        ("ssh-keygen -q -t dsa -f key -N ''".into(), None, "(ssh-dss)", "ed25519"),
        ("ssh-keygen -q -t dsa -m PEM -f key -N ''".into(), None, "(DSA)", "ed25519"),
        ("openssl genpkey -algorithm ed448 -out key".into(), None, "(Ed448)", "ed25519"),
        (
            "openssl ecparam -genkey -noout -name secp256k1 -out key".into(),
            None,
            "(secp256k1)",
            "ed25519",
        ),
        (format!("{plain} k; cp k.pub key"), None, "is a public key", ".pub"),
        (
            format!("{plain} k; ssh-keygen -q -s k -I me k.pub; cp k-cert.pub key"),
            None,
            "is a certificate",
            ".pub",
        ),
        (format!("{plain} k; head -n 3 k > key"), None, "END line", "whole text"),
        (format!("{plain} k; tr '\\n' ' ' < k > key"), None, "line breaks", "line breaks"),
        (format!("{plain} k; sed '3d' k > key"), None, "is damaged", "OpenSSH or PEM"),
        (format!("{plain} k; ssh-keygen -q -f k -e > key"), None, "is a public key", ".pub"),
        (
            "openssl genpkey -algorithm ed25519 -outform DER | base64 -w 0 > key; \
             openssl genrsa -traditional 2048 | openssl rsa -outform DER | base64 > key"
                .into(),
            None,
            "no BEGIN line",
            "openssl pkey -inform DER",
        ),
    ] {
        let fault = fault_of(&key_by(&script), passphrase).await;
        assert_eq!(fault.reason(), Reason::KeyUnusable, "{script}: {fault:?}");
        assert!(fault.details().contains(cause), "{script}: {fault:?}");
        assert!(fault.remedy().contains(remedy), "{script}: {fault:?}");
    }
}

fn anyone(server: &RawSshServer) -> LoginRequest {
    login(server.address, "anyone", SshCredentials::password(secret("hunter2")))
}

#[tokio::test]
async fn an_rsa_host_key_above_the_limit_is_told_as_the_limit_of_the_daemon() {
    let server = RawSshServer::with_rsa_host_key(16384).await;
    let fault = expect(verify(&anyone(&server)).await, Reason::NoCommonAlgorithm);
    assert!(fault.details().contains("this daemon verifies RSA keys of at most 8192"), "{fault:?}");
    assert_eq!((&fault.facts()["bits"], &fault.facts()["maxBits"]), (&16384.into(), &8192.into()));
    assert!(fault.remedy().contains("ed25519"), "{fault:?}");
    // A signature of a key that the daemon can verify is just wrong.
    let server = RawSshServer::with_rsa_host_key(4096).await;
    let fault = expect(verify(&anyone(&server)).await, Reason::ConnectionLost);
    assert!(fault.details().contains("signature of the server's host key is wrong"), "{fault:?}");
    assert_eq!(fault.facts()["phase"], Fact::from("handshake"));
}
