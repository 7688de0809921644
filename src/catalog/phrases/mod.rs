//! The labels and phrases of texts that contain figures: of a diagnosis, and of a forecast.

mod forecast;
mod labels;

pub use forecast::forecast_phrase;
pub use labels::{
    FINDING_LABELS, FindingLabels, duration_phrase, last_known_phrase, status_phrase, total_phrase,
    unchecked_phrase, unmade_phrase,
};
