//! Enums whose variants have a fixed text: without operands, and with them.

mod operand_enum;
mod string_enum;

pub(crate) use operand_enum::operand_enum;
pub use string_enum::UnknownVariant;
pub(crate) use string_enum::string_enum;
