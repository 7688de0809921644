//! Layer 2. ZStack's queries: conditions, order, page and fields of a list of records, as
//! functions.
//!
//! # Guarantees
//!
//! - A parameter that selects is honoured or refused with an error that names it.
//! - The result of a query depends only on the parameters and the records.
//!
//! # Never
//!
//! - It never repeats the value of a condition in an error.
//! - It never has a field for a secret.

mod capacity_scope;
mod condition;
mod date;
mod decimal;
mod field;
mod invalid_parameter;
mod operand;
mod operator;
mod pattern;
mod record_query;
mod span;
#[cfg(test)]
mod tests;
mod text_order;

pub use capacity_scope::CapacityScope;
pub use field::{QueryField, STORE_FIELDS, ZONE_FIELDS};
pub use invalid_parameter::InvalidParameter;
pub use record_query::{QueryAnswer, RecordQuery};
pub use span::parse_span;
