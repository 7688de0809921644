//! The description of the HTTP API and its events.

/// The OpenAPI 3.1 document. Tests compare it with the routes, the words of the model, and every
/// response that a test receives.
pub const API_DESCRIPTION: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json"));
