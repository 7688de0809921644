//! Tests of the status machine: by table, by time, by property and by simulation.

mod invariants;
mod overdue;
mod simulation;
mod timing;
pub(super) mod transition_table;
