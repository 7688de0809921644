//! The reconnect beside the login it cannot do without.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use imagestore_agent::model::{Credentials, Secret, SshAddress};
use imagestore_agent::settings::Settings;
use imagestore_agent::ssh::{Login, Verifier, Visit};
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use tokio::task::JoinSet;

use crate::figures::compare;
use crate::support::agent::{Agent, PATIENCE};
use crate::support::sshd::{Sshd, User};

const ROUNDS: usize = 61;

struct AnyKey;

impl client::Handler for AnyKey {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// What any program that uses russh pays for a login.
async fn bare_login(sshd: &Sshd, user: &User) -> Duration {
    let begun = Instant::now();
    let config = Arc::new(client::Config { nodelay: true, ..client::Config::default() });
    let mut session = client::connect(config, sshd.address, AnyKey).await.unwrap();
    let done = session.authenticate_password(&user.name, &user.password).await.unwrap();
    assert!(done.success());
    let took = begun.elapsed();
    session.disconnect(russh::Disconnect::ByApplication, "", "").await.unwrap();
    took
}

/// The same through the daemon's own check, which asks more questions on the way.
async fn checked_login(verifier: &Verifier, sshd: &Sshd, user: &User) -> Duration {
    let (hostname, port) = (sshd.address.ip().to_string(), sshd.address.port());
    let login = Login {
        address: SshAddress {
            hostname: hostname.parse().unwrap(),
            port: NonZeroU16::new(port).unwrap(),
        },
        username: user.name.clone(),
        credentials: Credentials::password(Secret::new(user.password.clone())),
        pinned: None,
        given_fingerprints: Vec::new(),
    };
    let begun = tokio::time::Instant::now();
    let Visit { verified, goodbye } = verifier.visit(&login, begun + PATIENCE).await;
    let took = begun.elapsed();
    verified.unwrap();
    goodbye.say().await;
    took
}

async fn reconnect(agent: &Agent, store: &str) -> Duration {
    let begun = Instant::now();
    let reply = agent.reconnect(store).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    begun.elapsed()
}

pub(crate) async fn reconnect_beside_a_bare_login(
    agent: &Agent,
    store: &str,
    sshd: &Sshd,
    user: &User,
) {
    let verifier = Verifier::new(&Settings::builtin().ssh);
    let (mut ours, mut checked, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        peer.push(bare_login(sshd, user).await);
        checked.push(checked_login(&verifier, sshd, user).await);
        ours.push(reconnect(agent, store).await);
    }
    let goal = "goal 1.10 on a disk that syncs under 0.5 ms";
    compare("reconnect over HTTP (password) beside a bare russh login", ours, peer.clone(), goal);
    compare("the login check alone beside a bare russh login", checked, peer, "no goal");
    let mut syncs = Vec::new();
    let file = std::fs::File::create(agent.path("sync")).unwrap();
    for _ in 0..ROUNDS {
        std::io::Write::write_all(&mut &file, &[0; 4096]).unwrap();
        let begun = Instant::now();
        file.sync_data().unwrap();
        syncs.push(begun.elapsed());
    }
    println!("    the state disk syncs 4 KiB in {:?}", crate::figures::spread(syncs).1);
}

pub(crate) async fn overlapping_beside_one(agent: &Agent, store: &str) {
    let (mut many, mut one) = (Vec::new(), Vec::new());
    let path = format!("/zstack/v1/backup-storage/image-store/{store}/actions");
    for _ in 0..21 {
        one.push(reconnect(agent, store).await);
        let begun = Instant::now();
        let mut calls = JoinSet::new();
        for _ in 0..200 {
            let (http, path) = (agent.http(), path.clone());
            calls.spawn(async move {
                let body = serde_json::json!({"params": {}});
                http.ask(hyper::Method::PUT, &path, Some(&body)).await.unwrap().status
            });
        }
        while let Some(status) = calls.join_next().await {
            assert_eq!(status.unwrap(), 200);
        }
        many.push(begun.elapsed());
    }
    compare("200 overlapping reconnects beside one", many, one, "goal 1.15");
}
