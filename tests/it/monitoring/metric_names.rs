//! The names of the metrics that the daemon exposes.

use std::collections::BTreeSet;

/// The metrics, as they are in a scrape. A histogram has further names.
const METRICS: [&str; 46] = [
    "imagestore_store_info",
    "imagestore_store_status",
    "imagestore_store_fault",
    "imagestore_store_condition",
    "imagestore_store_status_changed_timestamp_seconds",
    "imagestore_store_last_good_timestamp_seconds",
    "imagestore_store_capacity_bytes",
    "imagestore_store_available_bytes",
    "imagestore_store_inodes",
    "imagestore_store_inodes_available",
    "imagestore_store_full_forecast_timestamp_seconds",
    "imagestore_attempts_total",
    "imagestore_attempt_joiners_total",
    "imagestore_transitions_total",
    "imagestore_notices_pending",
    "imagestore_notice_oldest_timestamp_seconds",
    "imagestore_notices_folded_total",
    "imagestore_deliveries_total",
    "imagestore_http_requests_total",
    "imagestore_page_streams",
    "imagestore_callers_refused_total",
    "imagestore_unknown_fields_total",
    "imagestore_state_disk_trouble",
    "imagestore_stuck_workers",
    "imagestore_log_lines_lost_total",
    "imagestore_certificate_not_after_timestamp_seconds",
    "imagestore_build_info",
    "imagestore_settings_reload_timestamp_seconds",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
    "process_threads",
    "imagestore_probe_duration_seconds_bucket",
    "imagestore_probe_duration_seconds_count",
    "imagestore_login_phase_duration_seconds_bucket",
    "imagestore_login_phase_duration_seconds_count",
    "imagestore_delivery_duration_seconds_bucket",
    "imagestore_delivery_duration_seconds_count",
    "imagestore_http_request_duration_seconds_bucket",
    "imagestore_http_request_duration_seconds_count",
    "imagestore_ledger_commit_duration_seconds_bucket",
    "imagestore_ledger_commit_duration_seconds_count",
    "imagestore_ledger_commit_duration_seconds_sum",
];

/// Returns the names of the series that the daemon exposes.
pub(super) fn exposed_names() -> BTreeSet<String> {
    METRICS.iter().map(|name| (*name).to_owned()).collect()
}
