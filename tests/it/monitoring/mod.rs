//! The alerts and the dashboard: checked by the programs of Prometheus, and compared with the
//! catalog and with the metrics of the daemon.

mod compose;
mod configurations;
mod dashboard;
mod generated_docs;
mod live;
mod metric_names;
mod programs;
mod rules;
mod rules_file;
mod servers;
