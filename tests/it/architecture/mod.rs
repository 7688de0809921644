//! The rules of `docs/architecture.md` and CONTRIBUTING.md that a reader of the source can check.

mod folders;
mod layers;
mod names;
mod prose;
mod source;
