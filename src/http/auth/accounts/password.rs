//! The stored form of the password of an account: a salted argon2id hash in the PHC string format.
//!
//! ZStack's clients send the SHA-512 of a password, in lower-case hexadecimal digits. This text is
//! as good as the password to anyone who has it, so the daemon stores only a slow hash of it.
//!
//! # Guarantees
//!
//! - Every hash has the same cost, whichever account it is for.
//! - The memory of a hash goes back to the system at its end.
//!
//! # Never
//!
//! - It never shows a password, a salt or a hash in an error or in `Debug`.

use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use data_encoding::{BASE64_NOPAD, HEXLOWER};
use ring::digest::{SHA512, digest};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::common::Random;
use crate::model::Secret;

/// Memory of one hash, in KiB: 12 MiB (OWASP Password Storage Cheat Sheet).
const MEMORY_KIB: u32 = 12 * 1024;
/// Passes over this memory, which OWASP recommends with it.
const PASSES: u32 = 3;
/// Lanes of one hash. More of them would need more threads.
const LANES: u32 = 1;
/// Length of a hash, in bytes: the default of argon2 and of its other programs.
const HASH_BYTES: usize = 32;
/// Capacity of the memory of a hash, in blocks of 1 KiB. Above 32 MiB, glibc always maps a block of
/// its own, which goes back to the system when it is freed (`M_MMAP_THRESHOLD`, `mallopt(3)`). Only
/// the blocks in use become resident.
const CAPACITY_BLOCKS: usize = 33 * 1024;

/// The problem of a hash that is not of the form that the daemon stores.
const FORM_PROBLEM: &str = "the hash is not a PHC string $argon2id$v=19$m=12288,t=3,p=1$SALT$HASH: \
                            print a line with imagestore-agent account add";

/// The hash could not be computed, because the system has no memory for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoMemory;

/// The password of an account.
#[derive(Clone)]
pub(super) struct StoredPassword {
    salt: Vec<u8>,
    hash: [u8; HASH_BYTES],
}

impl StoredPassword {
    /// Parses the PHC string of a hash with the parameters that the daemon uses. With others, the
    /// time of a login would show if an account exists.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let phc = PasswordHash::new(text).map_err(|_| FORM_PROBLEM)?;
        let params = Params::try_from(&phc).map_err(|_| FORM_PROBLEM)?;
        let is_own_form = phc.algorithm == argon2::ARGON2ID_IDENT
            && phc.version == Some(Version::V0x13.into())
            && (params.m_cost(), params.t_cost(), params.p_cost()) == (MEMORY_KIB, PASSES, LANES)
            && params.keyid().is_empty()
            && params.data().is_empty();
        let hash = phc.hash.and_then(|hash| hash.as_bytes().try_into().ok());
        match (phc.salt, hash) {
            (Some(salt), Some(hash)) if is_own_form => {
                Ok(Self { salt: salt.as_ref().to_vec(), hash })
            }
            _ => Err(FORM_PROBLEM),
        }
    }

    /// Returns a password that no text matches. A login with an unknown name is checked against it,
    /// so that it takes the same time.
    pub(super) fn unmatched() -> Self {
        Self { salt: vec![0; 16], hash: [0; HASH_BYTES] }
    }

    /// Returns true if the SHA-512 that a client has sent is that of this password. The call
    /// computes for tens of milliseconds.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(super) fn matches(&self, sha512: &Secret) -> Result<bool, NoMemory> {
        let computed = compute_hash(sha512.expose_secret(), &self.salt)?;
        Ok(self.hash.ct_eq(&*computed).into())
    }

    /// Returns true if both are of one password with one salt.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.salt == other.salt && self.hash == other.hash
    }
}

/// Returns the SHA-512 of a password in the form that ZStack's clients send.
pub(super) fn zstack_digest(password: &Secret) -> Secret {
    Secret::new(HEXLOWER.encode(digest(&SHA512, password.expose_secret().as_bytes()).as_ref()))
}

/// Returns the PHC string of the hash of this SHA-512, with a random salt.
///
/// # Errors
/// [`NoMemory`].
pub(super) fn new_hash(sha512: &Secret, random: &dyn Random) -> Result<String, NoMemory> {
    let salt = random.bytes16();
    let hash = compute_hash(sha512.expose_secret(), &salt)?;
    let (salt, hash) = (BASE64_NOPAD.encode(&salt), BASE64_NOPAD.encode(&*hash));
    Ok(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${hash}"))
}

fn compute_hash(text: &str, salt: &[u8]) -> Result<Zeroizing<[u8; HASH_BYTES]>, NoMemory> {
    let mut hash = Zeroizing::new([0; HASH_BYTES]);
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).map_err(|_| NoMemory)?;
    let mut blocks = Vec::new();
    blocks.try_reserve_exact(CAPACITY_BLOCKS).map_err(|_| NoMemory)?;
    blocks.resize(params.block_count(), Block::new());
    // The parameters and the lengths are valid, so that nothing else can fail.
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(text.as_bytes(), salt, &mut *hash, &mut blocks)
        .map_err(|_| NoMemory)?;
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::SystemRandom;

    /// Computed by the reference implementation (argon2-cffi 25.1) for the SHA-512 of `password`.
    const REFERENCE: &str = "$argon2id$v=19$m=12288,t=3,p=1$AAECAwQFBgcICQoLDA0ODw$\
                             fzZ+qCIf1aOyjQPyieVtwM25b+nFZLdNRC2xUGTPk1o";

    fn digest_of(password: &str) -> Secret {
        zstack_digest(&Secret::new(password.to_owned()))
    }

    #[test]
    fn a_hash_of_the_reference_implementation_matches_its_password_and_no_other() {
        let stored = StoredPassword::parse(REFERENCE).unwrap();
        assert_eq!(stored.matches(&digest_of("password")), Ok(true));
        assert_eq!(stored.matches(&digest_of("Password")), Ok(false));
        assert_eq!(stored.matches(&Secret::new("password".to_owned())), Ok(false));
        assert_eq!(StoredPassword::unmatched().matches(&digest_of("password")), Ok(false));
    }

    #[test]
    fn the_digest_is_that_of_zstack() {
        // echo -n password | sha512sum
        let expected = "b109f3bbbc244eb82441917ed06d618b9008dd09b3befd1b5e07394c706a8bb980b1d7785e\
                        5976ec049b46df5f1326af5a2ea6d103fd07c95385ffab0cacbc86";
        assert_eq!(digest_of("password").expose_secret(), expected);
    }

    #[test]
    fn a_new_hash_has_a_salt_of_its_own_and_matches() {
        let sha512 = digest_of("secret word");
        let hashes = [(); 2].map(|()| new_hash(&sha512, &SystemRandom::default()).unwrap());
        assert_ne!(hashes[0], hashes[1]);
        let stored = hashes.map(|hash| StoredPassword::parse(&hash).unwrap());
        assert!(!stored[0].is_same(&stored[1]) && stored[0].is_same(&stored[0].clone()));
        for stored in stored {
            assert_eq!(stored.matches(&sha512), Ok(true));
        }
    }

    #[test]
    fn a_hash_with_another_form_or_cost_is_refused() {
        let replaced = |from: &str, to: &str| {
            assert!(REFERENCE.contains(from), "{from}");
            REFERENCE.replacen(from, to, 1)
        };
        let (salted, _) = REFERENCE.rsplit_once('$').unwrap();
        let (unsalted, _) = salted.rsplit_once('$').unwrap();
        for bad in [
            String::new(),
            "password".to_owned(),
            digest_of("password").expose_secret().to_owned(),
            replaced("argon2id", "argon2i"),
            replaced("argon2id", "scrypt"),
            replaced("v=19$", ""),
            replaced("v=19", "v=16"),
            replaced("m=12288", "m=4194304"),
            replaced("m=12288", "m=12287"),
            replaced("t=3", "t=2"),
            replaced("t=3", "t=4294967295"),
            replaced("p=1", "p=2"),
            replaced("m=12288,t=3,p=1", "t=3,p=1"),
            replaced("p=1", "p=1,keyid=AAAA"),
            replaced("p=1", "p=1,data=AAAA"),
            format!("{salted}$AAAAAAAAAAAAAAAAAAAAAA"),
            salted.to_owned(),
            unsalted.to_owned(),
            format!("{unsalted}$AAAA$AAAA"),
            format!("{REFERENCE}$x"),
        ] {
            assert_eq!(StoredPassword::parse(&bad).err(), Some(FORM_PROBLEM), "{bad}");
        }
    }
}
