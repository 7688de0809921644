//! The names of the series that the daemon exposes.

use std::collections::BTreeSet;

use imagestore_agent::metrics::{FAMILIES, FamilyKind};

/// Returns the names of the series.
pub(super) fn exposed_names() -> BTreeSet<String> {
    let names = FAMILIES.iter().flat_map(|family| {
        let suffixes: &[&str] = match family.kind {
            FamilyKind::Histogram => &["_bucket", "_sum", "_count"],
            FamilyKind::Counter | FamilyKind::Gauge | FamilyKind::Info => &[""],
        };
        suffixes.iter().map(|suffix| format!("{}{suffix}", family.full_name()))
    });
    names.collect()
}
