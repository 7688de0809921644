//! Identifiers, each with its own type so that they cannot be confused.

use std::fmt;
use std::str::FromStr;

/// An error for a text that is not 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 32 lower-case hexadecimal digits")]
pub struct InvalidUuid;

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// Creates the id whose 32 digits are this number.
            pub const fn from_u128(bits: u128) -> Self {
                Self(bits)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidUuid;

            fn from_str(text: &str) -> Result<Self, InvalidUuid> {
                let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                if text.len() != 32 || !digits {
                    return Err(InvalidUuid);
                }
                u128::from_str_radix(text, 16).map(Self).map_err(|_| InvalidUuid)
            }
        }
    };
}

hex_id! {
    /// A backup storage: 32 lower-case hexadecimal digits, as ZStack writes a uuid.
    StoreUuid
}

hex_id! {
    /// An installation of the daemon. The id is created once and stored in `state.dir/node-id`.
    NodeId
}

hex_id! {
    /// An image directory. The id is created once, when the directory is marked.
    MarkerId
}

hex_id! {
    /// A zone of the management node. The daemon only keeps it.
    ZoneUuid
}

hex_id! {
    /// One life of the ledger. A ledger that is created or restored has a new one. All copies of a
    /// ledger have the same first half.
    LedgerGeneration
}

impl LedgerGeneration {
    /// Returns the generation of a restored copy, with the second half of a random one.
    #[must_use]
    pub const fn restored(self, random: Self) -> Self {
        let first_half = u128::MAX << 64;
        Self((self.0 & first_half) | (random.0 & !first_half))
    }

    /// Returns true if both are generations of copies of the same ledger.
    pub const fn is_related(self, other: Self) -> bool {
        self.0 >> 64 == other.0 >> 64
    }
}

impl StoreUuid {
    /// Creates a random (version 4) uuid from 16 random bytes.
    pub fn new_random(bytes: [u8; 16]) -> Self {
        let mut bits = u128::from_be_bytes(bytes);
        bits = (bits & !(0xf << 76)) | (0x4 << 76);
        bits = (bits & !(0x3 << 62)) | (0x2 << 62);
        Self(bits)
    }

    /// Returns true if the digits are those of a version 1 to 5 uuid. ZStack requires this of a
    /// `resourceUuid` (`StringDSL.isZStackUuid`: `[0-9a-f]{12}[1-5][0-9a-f]{3}[89ab][0-9a-f]{15}`).
    pub fn is_rfc4122(self) -> bool {
        let version = (self.0 >> 76) & 0xf;
        let variant = (self.0 >> 62) & 0x3;
        (1..=5).contains(&version) && variant == 0x2
    }
}

/// A process. The start time distinguishes it from a later process with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessId {
    /// The process id.
    pub pid: i32,
    /// The start time in clock ticks since boot: field 22 of `/proc/PID/stat` (`proc_pid_stat(5)`).
    pub start_time: u64,
}

/// The number of a connect attempt of one store. The first attempt has number 1, and no number is
/// reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u64);

impl AttemptId {
    /// Returns the next number.
    #[must_use]
    pub fn next_id(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_exactly_32_lower_case_hex_digits() {
        let text = "8a2fe4b5c9d34e6fa1b2c3d4e5f60718";
        assert_eq!(text.parse::<StoreUuid>().unwrap().to_string(), text);
        for bad in [
            "",
            "8a2f",
            "8A2FE4B5C9D34E6FA1B2C3D4E5F60718",
            "8a2fe4b5-c9d3-4e6f-a1b2-c3d4e5f60718",
            "8a2fe4b5c9d34e6fa1b2c3d4e5f6071g",
            "+a2fe4b5c9d34e6fa1b2c3d4e5f60718",
        ] {
            assert_eq!(bad.parse::<StoreUuid>(), Err(InvalidUuid), "{bad}");
        }
    }

    #[test]
    fn a_random_uuid_is_a_strict_one() {
        for seed in 0..=255 {
            assert!(StoreUuid::new_random([seed; 16]).is_rfc4122(), "{seed}");
        }
        assert!(!StoreUuid::from_u128(0).is_rfc4122());
        assert!(!"8a2fe4b5c9d36e6fa1b2c3d4e5f60718".parse::<StoreUuid>().unwrap().is_rfc4122());
    }
}
