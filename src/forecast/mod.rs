//! Layer 2. The forecast of a store's space: from its use by day to the times until its limits.
//!
//! # Guarantees
//!
//! - A forecast has two assumptions, each with its own rate: the use goes on as it did, clean-ups
//!   included (net), or as on the days without clean-ups.
//! - Both start from the newest figure and from today's limits, so that a clean-up and a larger
//!   disk move the forecast at once.
//! - A day with unusual use hardly changes a rate.
//! - Without enough history there is no forecast.
//! - Days without figures are no growth, and neither are days of other space.
//!
//! # Never
//!
//! - It never reads a clock.

mod growth;
mod history;
mod outlook;
#[cfg(test)]
mod tests;

pub use growth::{DayUse, GrowthRates};
pub use history::{SpaceGrowth, StoreGrowth};
pub use outlook::{SpaceLimits, UseGrowth};
