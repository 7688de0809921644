//! Private keys made by `ssh-keygen` and `openssl`: each is opened, or its fault says why not. The
//! key is read before the server is dialled, so a key that was opened leads to a refused
//! connection.

use std::path::Path;
use std::time::Duration;

use imagestore_agent::model::{Fact, Fault, Reason, SshCredentials};
use imagestore_agent::ssh::LoginRequest;
use tokio::net::TcpSocket;

use crate::ssh::{expect, login, secret, ssh_settings, verify, verify_by};
use crate::support::failures::english_action;
use crate::support::raw_ssh_server::{self, Moment, RawSshServer};
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
        (format!("{RSA} -out key 1024"), None),
        (format!("{PKCS8} -v2 aes-192-cbc -v2prf hmacWithSHA512"), PASS),
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
        (format!("{PKCS8} -v2 des3; sed -i 3d key"), PASS, "is damaged", "OpenSSH or PEM"),
        (
            format!("{RSA} -aes128 {sesame} -out key 2048; sed -i '/DEK-Info/s/,.*/,0A/' key"),
            PASS,
            "is damaged",
            "OpenSSH or PEM",
        ),
        (
            "ssh-keygen -q -t ed25519 -f key -N 'open sesame'; sed -i 3d key".into(),
            PASS,
            "is damaged",
            "OpenSSH or PEM",
        ),
        (
            "ssh-keygen -q -t ed25519 -f key -N 'open sesame'".into(),
            Some("shut"),
            "passphrase does not decrypt",
            "correct",
        ),
        // A damaged key that is not encrypted, with a passphrase.
        (format!("{plain} key; sed -i 3d key"), PASS, "is damaged", "OpenSSH or PEM"),
        (format!("{plain} k; sed 1d k > key"), None, "BEGIN line", "whole text"),
        (format!("{RSA} -out key 512"), None, "1024 to 8192 bits", "ed25519"),
        (format!("{RSA} -primes 3 -out key 2048"), None, "two primes", "ed25519"),
        ("openssl genrsa -primes 3 -out key 2048".into(), None, "two primes", "ed25519"),
        ("openssl genpkey -algorithm x25519 -out key".into(), None, "(X25519)", "ed25519"),
        (
            "openssl genpkey -algorithm rsa-pss -pkeyopt rsa_keygen_bits:2048 -out key".into(),
            None,
            "(RSA-PSS)",
            "ed25519",
        ),
        (
            "openssl genpkey -algorithm ed448 -aes-256-cbc -pass 'pass:open sesame' -out key"
                .into(),
            PASS,
            "(Ed448)",
            "ed25519",
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
        assert!(english_action(&fault).contains(remedy), "{script}: {fault:?}");
    }
}

fn anyone(server: &RawSshServer) -> LoginRequest {
    login(server.address, "anyone", SshCredentials::password(secret("hunter2")))
}

#[tokio::test]
async fn a_group_outside_of_the_limits_is_reported_as_the_limit_of_the_daemon() {
    let init = raw_ssh_server::kex_init("diffie-hellman-group-exchange-sha256", "ssh-ed25519");
    for (bits, is_refused) in [(1024, true), (16384, true), (2048, false)] {
        let group = raw_ssh_server::negotiated_group(bits);
        let server = RawSshServer::sending(Moment::KeyExchange, vec![init.clone(), group]).await;
        let mut settings = ssh_settings();
        settings.handshake_timeout = Duration::from_secs(2);
        let fault = verify_by(&settings, &anyone(&server)).await.unwrap_err();
        let expected =
            if is_refused { Reason::NoCommonAlgorithm } else { Reason::HandshakeTimeout };
        assert_eq!(fault.reason(), expected, "{bits}: {fault:?}");
        if is_refused {
            assert!(fault.details().contains(&format!("group of {bits} bits")), "{fault:?}");
            assert!(fault.details().contains("this daemon accepts"), "{fault:?}");
        }
    }
}

const USUAL_EXPONENT: &[u8] = &[1, 0, 1];

#[tokio::test]
async fn an_rsa_host_key_above_the_limit_is_reported_as_the_limit_of_the_daemon() {
    let server = RawSshServer::with_rsa_host_key(16384, USUAL_EXPONENT).await;
    let fault = expect(verify(&anyone(&server)).await, Reason::NoCommonAlgorithm);
    assert!(fault.details().contains("this daemon verifies RSA keys of at most 8192"), "{fault:?}");
    assert_eq!((&fault.facts()["bits"], &fault.facts()["maxBits"]), (&16384.into(), &8192.into()));
    assert!(english_action(&fault).contains("ed25519"), "{fault:?}");
    let server = RawSshServer::with_rsa_host_key(4096, &[0xff; 8]).await;
    let fault = expect(verify(&anyone(&server)).await, Reason::NoCommonAlgorithm);
    assert!(fault.details().contains("a public exponent of 64 bits"), "{fault:?}");
    assert!(fault.details().contains("a public exponent of at most 33 bits"), "{fault:?}");
    // A signature of a key that the daemon can verify is just wrong.
    let server = RawSshServer::with_rsa_host_key(4096, USUAL_EXPONENT).await;
    let fault = expect(verify(&anyone(&server)).await, Reason::ConnectionLost);
    assert!(fault.details().contains("signature of the server's host key is wrong"), "{fault:?}");
    assert_eq!(fault.facts()["phase"], Fact::from("handshake"));
}
