//! What may travel by value: plain bytes with a name that both sides know.

use bytemuck::Pod;

/// A type whose values can be written to shared memory by one program and read by another.
///
/// [`Pod`] says that every bit pattern is a value, that there is no padding, and that the layout is fixed: no `bool`, `char`,
/// enum, pointer or reference, and nothing that another process could make invalid. What is not so is sent as its plain parts and
/// checked after it was copied out (bytemuck's `CheckedBitPattern`).
///
/// The name and the version are part of an object's identity: a program that asks for another name, version, size or alignment gets an
/// error, not another type's bytes. Change [`VERSION`](Self::VERSION) whenever the meaning of the bytes changes.
///
/// ```
/// use bytemuck::{Pod, Zeroable};
/// use ipc_core::Payload;
///
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// #[repr(C)]
/// struct Tick {
///     instrument: u64,
///     price: f64,
/// }
///
/// impl Payload for Tick {
///     const NAME: &'static str = "market.Tick";
/// }
/// ```
pub trait Payload: Pod + Send + Sync {
    /// The type's own stable name, the same in every program that shares it.
    const NAME: &'static str;

    /// Raised when the meaning of the bytes changes.
    const VERSION: u32 = 1;

    /// What stands in the segment's directory for the type: name, version, size and alignment in 64 bits.
    const FINGERPRINT: u64 = fingerprint_of_type(Self::NAME, Self::VERSION, size_of::<Self>(), align_of::<Self>());
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): for identities and for headers that nobody forges; not a cryptographic hash.
pub(crate) const fn fnv1a(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    hash
}

/// The starting value of [`fnv1a`].
pub(crate) const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

pub(crate) const fn fnv1a_words(mut hash: u64, words: &[u64]) -> u64 {
    let mut index = 0;
    while index < words.len() {
        hash = fnv1a(hash, &words[index].to_le_bytes());
        index += 1;
    }
    hash
}

const fn fingerprint_of_type(name: &str, version: u32, size: usize, align: usize) -> u64 {
    fnv1a_words(fnv1a(FNV_OFFSET, name.as_bytes()), &[version as u64, size as u64, align as u64])
}

macro_rules! primitive {
    ($($type:ty),*) => {$(
        impl Payload for $type {
            const NAME: &'static str = stringify!($type);
        }
    )*};
}
primitive!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64);

impl<T: Payload, const N: usize> Payload for [T; N] {
    const NAME: &'static str = T::NAME;
    const VERSION: u32 = T::VERSION;
    const FINGERPRINT: u64 = fnv1a_words(fnv1a(FNV_OFFSET, b"array"), &[T::FINGERPRINT, N as u64]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_tell_types_apart() {
        let all = [
            u8::FINGERPRINT,
            i8::FINGERPRINT,
            u64::FINGERPRINT,
            f64::FINGERPRINT,
            <[u8; 8]>::FINGERPRINT,
            <[u8; 16]>::FINGERPRINT,
            <[[u8; 8]; 2]>::FINGERPRINT,
            fingerprint_of_type("u64", 2, 8, 8),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| other != one), "{index}");
        }
    }

    #[test]
    fn fingerprints_are_part_of_the_format() {
        // FNV-1a of "a", from the algorithm's published test vectors.
        assert_eq!(fnv1a(FNV_OFFSET, b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
