//! The labels and phrases of texts that contain figures: of a diagnosis, and of a forecast.

mod forecast;
mod host_observations;
mod labels;
mod observations;
mod state_observations;

pub use forecast::forecast_phrase;
pub use labels::{
    FINDING_LABELS, FindingLabels, ROUND_LABELS, RoundLabels, SUMMARY_LABELS, SummaryLabels,
    annotated_phrase, duration_phrase, last_known_phrase, status_phrase, total_phrase,
    unchecked_phrase, unmade_phrase,
};
pub use observations::Observation;
