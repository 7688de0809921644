//! The table of the routes: each method and path of the daemon, with its handler.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, any, on};

use super::job::call::JOBS_PATH;
use super::job::result::get_job;
use super::unsupported::{self, legacy};
use super::{
    AppState, accounts, agent_protocol, description, events, health, queries, stores, version,
};
use crate::agent::{Registry, StoreService};
use crate::common::string_enum;
use crate::http::auth::agent_allowlist::{CONNECT_COMMAND, ECHO_COMMAND, PING_COMMAND};
use crate::http::auth::open_paths::{
    LEGACY_API_PATH, LIVENESS_PATH, METRICS_PATH, READINESS_PATH, ZSTACK_BASE_PATH,
};

/// The path of the description of the API.
const DESCRIPTION_PATH: &str = "/openapi.json";

string_enum! {
    /// The method of a route. `HEAD` belongs to each `Get`.
    pub RouteMethod {
        /// Reads.
        Get = "GET",
        /// Adds, runs a check, or calls an agent.
        Post = "POST",
        /// Acts on a store.
        Put = "PUT",
        /// Removes.
        Delete = "DELETE",
    }
}

use RouteMethod::{Delete, Get, Post, Put};

/// The part of a path that the settings decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathScope {
    /// There is none.
    Root,
    /// Each `server.base_path` precedes the path.
    Base,
    /// As `Base`, and also below ZStack's own base path, where its clients poll.
    BaseAndZStack,
    /// Each of `server.agent_prefixes` precedes the path.
    Prefix,
    /// As `Prefix`, with and without a slash after the path, as ZStack's agents accept both.
    AgentCall,
}

/// One row of the table.
pub(super) struct Route<S> {
    /// `None` stands for every method.
    method: Option<RouteMethod>,
    scope: PathScope,
    path: String,
    handler: MethodRouter<Arc<AppState<S>>>,
}

impl<S: StoreService> Route<S> {
    pub(super) fn new<H, T>(method: RouteMethod, scope: PathScope, path: &str, handler: H) -> Self
    where
        H: Handler<T, Arc<AppState<S>>>,
        T: 'static,
    {
        let handler = on(method.filter(), handler);
        Self { method: Some(method), scope, path: path.to_owned(), handler }
    }

    /// Creates a route whose handler gets the requests with every method.
    fn for_any_method<H, T>(scope: PathScope, path: &str, handler: H) -> Self
    where
        H: Handler<T, Arc<AppState<S>>>,
        T: 'static,
    {
        Self { method: None, scope, path: path.to_owned(), handler: any(handler) }
    }

    /// Returns the paths of the route, for these settings.
    fn paths(&self, bases: &[String], prefixes: &[String]) -> Vec<String> {
        let path = &self.path;
        let below_prefixes = prefixes.iter().map(|prefix| format!("{prefix}{path}"));
        match self.scope {
            PathScope::Root => vec![path.clone()],
            PathScope::Base => bases.iter().map(|base| format!("{base}{path}")).collect(),
            PathScope::BaseAndZStack => {
                let bases = bases.iter().map(String::as_str).chain([ZSTACK_BASE_PATH]);
                let bases: BTreeSet<&str> = bases.collect();
                bases.into_iter().map(|base| format!("{base}{path}")).collect()
            }
            PathScope::Prefix => below_prefixes.collect(),
            PathScope::AgentCall => {
                below_prefixes.flat_map(|path| [format!("{path}/"), path]).collect()
            }
        }
    }
}

impl RouteMethod {
    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// Returns every route. `docs/openapi.json` describes each of them.
fn all_routes<S: StoreService>() -> Vec<Route<S>> {
    use PathScope::{AgentCall, Base, BaseAndZStack, Prefix, Root};
    let image_stores = "/v1/backup-storage/image-store";
    let image_store = format!("{image_stores}/{{uuid}}");
    let actions = format!("{image_store}/actions");
    let any_actions = "/v1/backup-storage/{uuid}/actions";
    let zone = "/v1/zones/{zone}/backup-storage/{uuid}";
    let session = "/v1/accounts/sessions/{session}";
    let session_validity = format!("{session}/valid");
    let job = format!("{JOBS_PATH}/{{uuid}}");
    let call = |command| format!("/{command}");
    let legacy_path = |suffix| format!("{LEGACY_API_PATH}{suffix}");
    let mut routes = vec![
        Route::new(Get, Root, LIVENESS_PATH, health::get_liveness),
        Route::new(Get, Root, READINESS_PATH, health::get_readiness::<S>),
        Route::new(Get, Root, METRICS_PATH, health::metrics::get_metrics::<S>),
        Route::new(Get, Root, DESCRIPTION_PATH, description::get_description),
        Route::new(Get, Base, "/v1/backup-storage", queries::query_stores::<S>),
        Route::new(Get, Base, "/v1/backup-storage/types", queries::get_types),
        Route::new(Get, Base, "/v1/backup-storage/capacities", queries::get_capacity::<S>),
        Route::new(Get, Base, "/v1/zones", queries::query_zones::<S>),
        Route::new(Get, Base, image_stores, queries::query_stores::<S>),
        Route::new(Post, Base, image_stores, stores::add_store::<S>),
        Route::new(Get, Base, &image_store, queries::get_store::<S>),
        Route::new(Put, Base, &actions, stores::act_on_store::<S>),
        Route::new(Get, Base, "/v1/backup-storage/{uuid}", queries::get_store::<S>),
        Route::new(Delete, Base, "/v1/backup-storage/{uuid}", stores::remove_store::<S>),
        Route::new(Put, Base, any_actions, stores::act_on_any_store::<S>),
        Route::new(Post, Base, zone, stores::attach_zone::<S>),
        Route::new(Delete, Base, zone, stores::detach_zone::<S>),
        Route::new(Get, BaseAndZStack, &job, get_job::<S>),
        Route::new(Put, Base, "/v1/accounts/login", accounts::log_in::<S>),
        Route::new(Get, Base, &session_validity, accounts::validate_session::<S>),
        Route::new(Delete, Base, session, accounts::log_out::<S>),
        Route::new(Put, Base, "/v1/management-nodes/actions", version::get_version),
        Route::for_any_method(Root, &legacy_path(""), legacy::fail_message),
        Route::for_any_method(Root, &legacy_path("/"), legacy::fail_message),
        Route::for_any_method(Root, &legacy_path("/{*rest}"), legacy::fail_message),
        Route::new(Get, Prefix, "/stores", health::stores::get_store_summary::<S>),
        Route::new(Get, Prefix, "/stores/{uuid}/health", health::stores::get_store_health::<S>),
        Route::new(Get, Prefix, "/events", events::get_events::<S>),
        Route::new(
            Get,
            Prefix,
            "/stores/{uuid}/capacity",
            health::capacity::get_capacity_history::<S>,
        ),
        Route::new(Get, Prefix, "/stores/{uuid}/attempt", events::attempt::get_attempt::<S>),
        Route::new(Post, Prefix, "/stores/{uuid}/probe", health::requested::probe_store::<S>),
        Route::new(Post, Prefix, "/stores/{uuid}/login", health::requested::log_in_store::<S>),
        Route::new(Get, Prefix, "/diagnosis", health::diagnosis::get_diagnosis::<S>),
        Route::new(Post, AgentCall, &call(ECHO_COMMAND), agent_protocol::handle_echo),
        Route::new(Post, AgentCall, &call(CONNECT_COMMAND), agent_protocol::handle_connect::<S>),
        Route::new(Post, AgentCall, &call(PING_COMMAND), agent_protocol::handle_ping::<S>),
    ];
    routes.extend(unsupported::unsupported_routes());
    routes
}

/// Adds every route to the router. `bases` are those of `server.base_path`, and `prefixes` are
/// `server.agent_prefixes`.
pub(super) fn add_routes<S: StoreService>(
    router: Router<Arc<AppState<S>>>,
    bases: &[String],
    prefixes: &[String],
) -> Router<Arc<AppState<S>>> {
    let routes = all_routes::<S>().into_iter().flat_map(|route| {
        let paths = route.paths(bases, prefixes);
        paths.into_iter().map(move |path| (path, route.handler.clone()))
    });
    routes.fold(router, |router, (path, handler)| router.route(&path, handler))
}

/// Returns the method and the path of every route, for these settings. A route without a method
/// serves every method.
pub fn served_paths(bases: &[String], prefixes: &[String]) -> Vec<(Option<RouteMethod>, String)> {
    let routes = all_routes::<Registry>().into_iter().flat_map(|route| {
        let paths = route.paths(bases, prefixes);
        paths.into_iter().map(move |path| (route.method, path))
    });
    routes.collect()
}
