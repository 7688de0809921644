//! Which path does what. A route checks the role, reads the request, asks the stores and writes the
//! audit line.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get, put};

use super::agent_protocol;
use super::error::Refusal;
use super::health;
use super::response;
use super::state::{Desk, StoreInPath};
use super::store_health;
use crate::agent::{AddError, StoreService};
use crate::http::auth::principal::Caller;
use crate::http::auth::role::Role;
use crate::http::middleware::audit::Audit;
use crate::http::middleware::body::JsonBody;
use crate::wire::{StoreAction, parse_add_store};

/// Every path of this daemon; `base` is `server.base_path`, `prefixes` are `server.agent_prefixes`.
pub(crate) fn router<S: StoreService>(base: &str, prefixes: &[String], desk: Desk<S>) -> Router {
    let any_store = format!("{base}/v1/backup-storage/{{uuid}}");
    let stores = format!("{base}/v1/backup-storage/image-store");
    let views = prefixes.iter().fold(Router::new(), |views, prefix| {
        agent_protocol::routes(views, prefix)
            .route(&format!("{prefix}/stores"), get(store_health::summary::<S>))
            .route(&format!("{prefix}/stores/{{uuid}}/health"), get(store_health::health::<S>))
    });
    views
        .route(health::ALIVE, get(health::alive))
        .route(health::READY, get(health::ready::<S>))
        .route(&stores, get(list::<S>).post(add::<S>))
        .route(&format!("{stores}/{{uuid}}"), get(show::<S>))
        .route(&format!("{stores}/{{uuid}}/actions"), put(act::<S>))
        .route(&any_store, delete(remove::<S>))
        .fallback(async || Refusal::UnknownPath)
        .method_not_allowed_fallback(async || Refusal::MethodNotAllowed)
        .with_state(Arc::new(desk))
}

async fn list<S: StoreService>(
    State(desk): State<Arc<Desk<S>>>,
    caller: Caller,
) -> Result<Response, Refusal> {
    caller.needs(Role::Read)?;
    let views = desk.stores.snapshots();
    Ok(response::inventories(views.iter().map(AsRef::as_ref)))
}

async fn show<S: StoreService>(
    State(desk): State<Arc<Desk<S>>>,
    caller: Caller,
    StoreInPath(store): StoreInPath,
) -> Result<Response, Refusal> {
    caller.needs(Role::Read)?;
    let view = desk.stores.snapshot(store.ok_or(Refusal::BadUuid)?);
    Ok(response::inventories(view.as_deref()))
}

async fn act<S: StoreService>(
    State(desk): State<Arc<Desk<S>>>,
    caller: Caller,
    StoreInPath(store): StoreInPath,
    body: JsonBody,
) -> Response {
    let mut audit = Audit::of(&caller, "reconnect", store);
    let acted = async {
        caller.needs(Role::Operate)?;
        let uuid = store.ok_or(Refusal::BadUuid)?;
        let view = match StoreAction::parse_action(&body.bytes()?)? {
            StoreAction::Reconnect { tags, force } => {
                desk.stores.reconnect(uuid, tags, force).await?
            }
            StoreAction::Update(update) => {
                audit.asks("update");
                desk.stores.update(uuid, *update).await?
            }
            StoreAction::AcceptHostKey { fingerprint, tags } => {
                audit.asks("accept_host_key");
                caller.needs(Role::Admin)?;
                desk.stores.accept_host_key(uuid, &fingerprint, tags).await?
            }
        };
        Ok(response::inventory(&view))
    };
    let answer = acted.await;
    audit.close(answer)
}

async fn add<S: StoreService>(
    State(desk): State<Arc<Desk<S>>>,
    caller: Caller,
    body: JsonBody,
) -> Response {
    let mut audit = Audit::of(&caller, "add", None);
    let added = async {
        caller.needs(Role::Operate)?;
        let asked = parse_add_store(&body.bytes()?, &desk.allowed_roots)?;
        if let Some(store) = asked.uuid {
            audit.concerns(store);
        }
        if asked.take_over {
            caller.needs(Role::Admin)?;
        }
        let view = desk.stores.add(asked).await.map_err(|error| match error {
            AddError::Refused(fault) => Refusal::Taken(fault),
            AddError::Failed(failure) => Refusal::NotAdded(failure),
        })?;
        audit.concerns(view.store.uuid);
        Ok(response::inventory(&view))
    };
    let answer = added.await;
    audit.close(answer)
}

async fn remove<S: StoreService>(
    State(desk): State<Arc<Desk<S>>>,
    caller: Caller,
    StoreInPath(store): StoreInPath,
) -> Response {
    let audit = Audit::of(&caller, "remove", store);
    let removed = async {
        caller.needs(Role::Operate)?;
        let store = store.ok_or(Refusal::BadUuid)?;
        // A store that is gone already is what was asked for.
        desk.stores.remove(store).await.map_err(Refusal::NotRemoved)?;
        Ok(response::done())
    };
    audit.close(removed.await)
}
