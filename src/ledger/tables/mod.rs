//! The tables of the ledger: their statements, and the rows that these read and write.

pub(super) mod checksum;
pub(super) mod history;
pub(super) mod meta;
pub(super) mod outbox;
pub(super) mod rows;
pub(super) mod stores;
