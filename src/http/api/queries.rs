//! The queries of ZStack's clients: stores, zones, the types of stores, and the capacity of several
//! stores.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::query_string::QueryParameters;
use super::response::{self, SchemaRequest};
use super::{AppState, StoreIdPath};
use crate::agent::{StoreService, StoreSnapshot, total_capacity};
use crate::common::for_each_fairly;
use crate::http::auth::{Principal, Role};
use crate::http::error::ApiError;
use crate::model::Inventory;
use crate::query::{
    CapacityScope, QueryAnswer, QueryField, RecordQuery, STORE_FIELDS, ZONE_FIELDS,
};
use crate::wire::{
    CapacityResponse, CountResponse, DateFormat, InventoryBody, ListSchema, ListWriter,
    PageResponse, PartialInventory, ServerClass, TypesResponse, ZoneBody,
};

/// Returns the stores that the query selects.
pub(super) async fn query_stores<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    parameters: QueryParameters,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let query = parse_query(&parameters, &STORE_FIELDS, &state.dates)?;
    let candidates = match query.only_uuid() {
        Some(uuid) => state.stores.snapshot(uuid).into_iter().collect(),
        None => state.stores.snapshots(),
    };
    Ok(answer_stores(&query, &candidates, &state.dates).await)
}

/// Returns the store that the path names, if the query selects it.
pub(super) async fn get_store<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    StoreIdPath(store): StoreIdPath,
    parameters: QueryParameters,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let snapshot = state.stores.snapshot(store.ok_or(ApiError::InvalidUuid)?);
    if parameters.is_empty() {
        return Ok(response::single_store_response(snapshot.as_deref(), &state.dates));
    }
    let query = parse_query(&parameters, &STORE_FIELDS, &state.dates)?;
    Ok(answer_stores(&query, snapshot.as_slice(), &state.dates).await)
}

/// Returns the zones that stores are attached to. The daemon knows no other zones.
pub(super) async fn query_zones<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    parameters: QueryParameters,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let query = parse_query(&parameters, &ZONE_FIELDS, &state.dates)?;
    let snapshots = state.stores.snapshots();
    let mut zones = BTreeSet::new();
    for_each_fairly(&snapshots, |snapshot| {
        let attached = snapshot.inventory.zone_uuids.iter();
        zones.extend(attached.filter(|zone| query.matches(zone)));
    })
    .await;
    let push = |body: &mut ListWriter, zone: &String| body.push(&ZoneBody { uuid: zone });
    Ok(answer_query(&query, zones.into_iter().collect(), ServerClass::Zone, push).await)
}

/// Returns the types of stores that the daemon serves.
pub(super) async fn get_types(
    caller: Principal,
    SchemaRequest(with_schema): SchemaRequest,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    Ok(response::json_response(StatusCode::OK, &TypesResponse::new(with_schema)))
}

/// Returns the sum of the capacities of the stores that the parameters name.
pub(super) async fn get_capacity<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
    caller: Principal,
    SchemaRequest(with_schema): SchemaRequest,
    parameters: QueryParameters,
) -> Result<Response, ApiError> {
    caller.require_role(Role::Read)?;
    let scope = CapacityScope::parse(parameters.pairs()).map_err(ApiError::InvalidParameter)?;
    let mut covered = Vec::new();
    for_each_fairly(state.stores.snapshots(), |snapshot| {
        if scope.covers(&snapshot.inventory) {
            covered.push(snapshot);
        }
    })
    .await;
    let capacity = total_capacity(&covered).await;
    let body = CapacityResponse::new(capacity.total, capacity.available, with_schema);
    Ok(response::json_response(StatusCode::OK, &body))
}

/// Parses the parameters of a query. A date without a zone is in that of the inventories.
fn parse_query<R>(
    parameters: &QueryParameters,
    fields: &'static [QueryField<R>],
    dates: &DateFormat,
) -> Result<RecordQuery<R>, ApiError> {
    RecordQuery::parse(parameters.pairs(), fields, dates.zone()).map_err(ApiError::InvalidParameter)
}

/// Evaluates a query over these stores, and creates the response.
async fn answer_stores(
    query: &RecordQuery<Inventory>,
    candidates: &[Arc<StoreSnapshot>],
    dates: &DateFormat,
) -> Response {
    let mut matching = Vec::new();
    for_each_fairly(candidates, |snapshot| {
        if query.matches(&snapshot.inventory) {
            matching.push(&snapshot.inventory);
        }
    })
    .await;
    let push = |body: &mut ListWriter, inventory: &Inventory| {
        let inventory = InventoryBody::from_inventory(inventory, dates);
        match query.selected_fields() {
            Some(fields) => body.push(&PartialInventory::new(inventory, fields)),
            None => body.push(&inventory),
        }
    };
    answer_query(query, matching, ServerClass::Store, push).await
}

/// Creates the response to a query from all matching records. `push` writes one of them.
async fn answer_query<R>(
    query: &RecordQuery<R>,
    matching: Vec<&R>,
    class: ServerClass,
    mut push: impl FnMut(&mut ListWriter, &R),
) -> Response {
    let total = matching.len();
    let shown_total = match query.answer() {
        QueryAnswer::Count => {
            return response::json_response(StatusCode::OK, &CountResponse { total });
        }
        QueryAnswer::Page => None,
        QueryAnswer::PageWithTotal => Some(total),
    };
    let page = query.page_of(matching);
    let schema = ListSchema::new(class, page.len());
    let frame = PageResponse { total: shown_total, schema, inventories: [] };
    let mut body = ListWriter::new(&frame);
    for_each_fairly(page, |record| push(&mut body, record)).await;
    response::list_response(body)
}
