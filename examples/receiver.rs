//! A receiver of the daemon's events, to run as it is or to extend. It checks the signature, keeps
//! the newest state of each store in SQLite, prints changes, and requests the states that a
//! heartbeat shows to be missing.
//!
//! `cargo run --example receiver -- 127.0.0.1:8080 states.sqlite signing-secret` starts it. The
//! last argument is the file of the daemon's `callback.signing_secret_file`, of which the first
//! secret counts.
//!
//! # Guarantees
//! * An event is stored if its `(epoch, seq)` is greater than that of the stored state, a resync
//!   also if it is equal. Repeated, late and reordered events therefore leave the newest state.

#![allow(clippy::indexing_slicing, reason = "what a JSON value does not have is null")]
#![allow(clippy::disallowed_macros, reason = "an example needs no writer of its own")]
#![allow(clippy::disallowed_methods, reason = "it reads its secret once, before it serves")]

use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Maximum size of a request body in bytes: enough for a heartbeat of some thousand stores.
const LONGEST: usize = 1 << 20;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS states (
    uuid TEXT PRIMARY KEY, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
    status TEXT NOT NULL, data TEXT NOT NULL) WITHOUT ROWID";

/// `(excluded.epoch, excluded.seq)` is the position of the event; the other one is the stored
/// position.
const APPLY: &str = "INSERT INTO states VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (uuid) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq,
        status = excluded.status, data = excluded.data
    WHERE (excluded.epoch, excluded.seq) > (states.epoch, states.seq)
        OR (?6 AND (excluded.epoch, excluded.seq) = (states.epoch, states.seq))";

/// The stored states and the secret that verifies signatures.
pub struct Receiver {
    states: Mutex<Connection>,
    webhook: Webhook,
}

impl Receiver {
    /// Opens the states at `path`. The secret, `whsec_` and base64, verifies the signatures.
    pub fn open(path: &str, secret: &str) -> Result<Self, Box<dyn Error>> {
        let states = Connection::open(path)?;
        // The daemon never repeats an event that was answered with 2xx, so the event must be on the
        // disk by then.
        states.pragma_update(None, "journal_mode", "WAL")?;
        states.pragma_update(None, "synchronous", "FULL")?;
        states.execute(SCHEMA, [])?;
        Ok(Self { states: Mutex::new(states), webhook: Webhook::new(secret)? })
    }

    /// Handles one event. Returns 2xx only after the event is stored, 4xx for an event that can
    /// never succeed, and 5xx for one that the daemon shall send again.
    pub fn take(&self, headers: &HeaderMap, body: &[u8]) -> (StatusCode, Value) {
        if let Err(error) = self.webhook.verify(body, headers) {
            return (StatusCode::UNAUTHORIZED, json!({"error": error.to_string()}));
        }
        let Ok(event) = serde_json::from_slice::<Value>(body) else {
            return (StatusCode::BAD_REQUEST, json!({"error": "no JSON"}));
        };
        let data = &event["data"];
        let outcome = match event["type"].as_str() {
            Some("backup-storage.status.changed") => self.apply(data, false),
            Some("backup-storage.status.resync") => self.apply(data, true),
            Some("backup-storage.heartbeat") => self.missed(&data["stores"]),
            // An event type of a later version is ignored.
            _ => Ok(json!({})),
        };
        match outcome {
            Ok(answer) => (StatusCode::OK, answer),
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, json!({"error": error.to_string()})),
        }
    }

    fn apply(&self, data: &Value, equal: bool) -> Result<Value, Box<dyn Error>> {
        let (uuid, status) = (data["backupStorageUuid"].as_str(), data["newStatus"].as_str());
        let (epoch, seq) = (data["epoch"].as_i64(), data["seq"].as_i64());
        let event = params![uuid, epoch, seq, status, data.to_string(), equal];
        let newer = self.states.lock().map_err(|_| "broken")?.execute(APPLY, event)?;
        if newer > 0 {
            println!("{}", json!({"store": uuid, "status": status, "epoch": epoch, "seq": seq}));
        }
        Ok(json!({}))
    }

    /// Returns the stores of which the heartbeat shows a newer position than the stored one.
    fn missed(&self, stores: &Value) -> Result<Value, Box<dyn Error>> {
        let states = self.states.lock().map_err(|_| "broken")?;
        let mut stored_positions = states.prepare_cached(
            "SELECT count(*) FROM states WHERE uuid = ?1 AND (epoch, seq) >= (?2, ?3)",
        )?;
        let mut missed = Vec::new();
        for store in stores.as_array().into_iter().flatten() {
            let uuid = store["backupStorageUuid"].as_str();
            let place = params![uuid, store["epoch"].as_i64(), store["seq"].as_i64()];
            if stored_positions.query_row(place, |row| row.get::<_, i64>(0))? == 0 {
                missed.extend(uuid);
            }
        }
        Ok(json!({ "resync": missed }))
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let (status, answer) = match Limited::new(body, LONGEST).collect().await {
            Ok(body) => self.take(&head.headers, &body.to_bytes()),
            Err(error) => (StatusCode::PAYLOAD_TOO_LARGE, json!({"error": error.to_string()})),
        };
        let mut response = Response::new(Full::from(answer.to_string()));
        *response.status_mut() = status;
        response
    }

    /// Serves connections forever.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> std::io::Result<()> {
        let mut connections = JoinSet::new();
        loop {
            let (tcp, _) = listener.accept().await?;
            let receiver = Arc::clone(&self);
            connections.spawn(async move {
                let service = service_fn(|request| async {
                    Ok::<_, Infallible>(receiver.answer(request).await)
                });
                // An error of the connection does not matter: each handled event was answered.
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(tcp), service).await;
            });
            while connections.try_join_next().is_some() {}
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(path), Some(secret)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: receiver ADDRESS:PORT DATABASE SECRET-FILE".into());
    };
    let secrets = std::fs::read_to_string(secret)?;
    let secret = secrets.lines().next().ok_or("there is no secret in the file")?;
    Arc::new(Receiver::open(&path, secret)?).serve(TcpListener::bind(listen).await?).await?;
    Ok(())
}
