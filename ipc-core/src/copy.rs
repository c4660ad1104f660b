//! Copies between private memory and shared memory that another process may write at the same time.
//!
//! No reference to shared memory is ever formed here: bytes are moved by volatile loads and stores of up to 32 bytes,
//! so the compiler may neither invent, repeat nor drop one. A peer that breaks the protocol can make the copy hold wrong bytes;
//! nothing else can come of it. A volatile 256-bit copy of 4 KiB was as fast as memcpy where it was measured, an 8-byte
//! one eight times slower, so large copies use AVX where the processor has it.
#![expect(unsafe_code, reason = "volatile access through raw pointers")]

use std::mem::MaybeUninit;

use bytemuck::{AnyBitPattern, NoUninit};

use crate::sync::MODEL;

/// A chunk that is read and written in one volatile access at any alignment.
macro_rules! chunk {
    ($name:ident, $inner:ty) => {
        #[derive(Clone, Copy)]
        #[repr(C, packed)]
        struct $name($inner);
    };
}
#[cfg(target_arch = "x86_64")]
chunk!(Chunk32, std::arch::x86_64::__m256i);
#[cfg(target_arch = "x86_64")]
chunk!(Chunk16, std::arch::x86_64::__m128i);
#[cfg(not(target_arch = "x86_64"))]
chunk!(Chunk16, [u64; 2]);
chunk!(Chunk8, u64);
chunk!(Chunk4, u32);
chunk!(Chunk2, u16);

/// From this many bytes on, the wider loop is worth the question whether the processor has it.
const WIDE: usize = 128;

/// Moves one chunk and steps both pointers over it.
macro_rules! step {
    ($chunk:ty, $source:ident, $target:ident, $left:ident) => {{
        // SAFETY: the caller of the enclosing function vouches for `$left` bytes at both ends, and the loop
        // condition says that the chunk is no longer than that; the chunk has alignment 1.
        unsafe {
            $target.cast::<$chunk>().write_volatile($source.cast::<$chunk>().read_volatile());
            $source = $source.add(size_of::<$chunk>());
            $target = $target.add(size_of::<$chunk>());
        }
        $left -= size_of::<$chunk>();
    }};
}

/// Copies `len` bytes with volatile accesses.
///
/// # Safety
///
/// `source` must be readable and `target` writable for `len` bytes, and they must not overlap. Either may be shared with other
/// processes that write it at the same time.
#[inline(always)]
pub unsafe fn copy(source: *const u8, target: *mut u8, len: usize) {
    #[cfg(any(ipc_model = "loom", ipc_model = "shuttle"))]
    if MODEL {
        // SAFETY: as the caller says.
        return unsafe { crate::sync::model::copy(source, target, len) };
    }
    let (mut source, mut target, mut left) = (source, target, len);
    #[cfg(target_arch = "x86_64")]
    if left >= WIDE && std::arch::is_x86_feature_detected!("avx") {
        let wide = left & !(size_of::<Chunk32>() - 1);
        // SAFETY: AVX is there, and the caller vouches for at least `wide` bytes at both ends.
        unsafe {
            copy_wide(source, target, wide);
            source = source.add(wide);
            target = target.add(wide);
        }
        left -= wide;
    }
    while left >= size_of::<Chunk16>() {
        step!(Chunk16, source, target, left);
    }
    if left >= size_of::<Chunk8>() {
        step!(Chunk8, source, target, left);
    }
    if left >= size_of::<Chunk4>() {
        step!(Chunk4, source, target, left);
    }
    if left >= size_of::<Chunk2>() {
        step!(Chunk2, source, target, left);
    }
    if left >= 1 {
        step!(u8, source, target, left);
    }
    let _ = (source, target, left);
}

/// The loop for long copies; `len` is a multiple of 32.
///
/// # Safety
///
/// As for [`copy`], and the processor must have AVX.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn copy_wide(source: *const u8, target: *mut u8, len: usize) {
    let mut done = 0;
    while done + 128 <= len {
        // SAFETY: `done + 128 <= len`, and the caller vouches for `len` bytes at both ends; chunks have alignment 1.
        unsafe {
            let (from, to) = (source.add(done).cast::<Chunk32>(), target.add(done).cast::<Chunk32>());
            let chunks = (
                from.read_volatile(),
                from.add(1).read_volatile(),
                from.add(2).read_volatile(),
                from.add(3).read_volatile(),
            );
            to.write_volatile(chunks.0);
            to.add(1).write_volatile(chunks.1);
            to.add(2).write_volatile(chunks.2);
            to.add(3).write_volatile(chunks.3);
        }
        done += 128;
    }
    while done + 32 <= len {
        // SAFETY: as above, for 32 bytes.
        unsafe {
            target.add(done).cast::<Chunk32>().write_volatile(source.add(done).cast::<Chunk32>().read_volatile());
        }
        done += 32;
    }
}

/// Values of up to a cache line go word by word, and only the shared side is volatile: so they stay in registers on the private one. Copied through
/// memory in chunks, a value that was just made of words stalls on its own stores.
const IN_REGISTERS: usize = 64;

/// Moves one word of a value and steps both pointers over it: `$read` and `$write` say which side is shared.
macro_rules! word {
    ($word:ty, $source:ident.$read:ident, $target:ident.$write:ident, $left:ident) => {{
        // SAFETY: the caller of the enclosing function vouches for `$left` bytes at both ends, and the loop condition says that
        // the word is no longer than that; the word has alignment 1.
        unsafe {
            $target.cast::<$word>().$write($source.cast::<$word>().$read());
            $source = $source.add(size_of::<$word>());
            $target = $target.add(size_of::<$word>());
        }
        $left -= size_of::<$word>();
    }};
}

/// Moves a value of up to [`IN_REGISTERS`] bytes.
macro_rules! words {
    ($source:ident.$read:ident, $target:ident.$write:ident, $left:ident) => {{
        while $left >= size_of::<Chunk8>() {
            word!(Chunk8, $source.$read, $target.$write, $left);
        }
        if $left >= size_of::<Chunk4>() {
            word!(Chunk4, $source.$read, $target.$write, $left);
        }
        if $left >= size_of::<Chunk2>() {
            word!(Chunk2, $source.$read, $target.$write, $left);
        }
        if $left >= 1 {
            word!(u8, $source.$read, $target.$write, $left);
        }
        let _ = ($source, $target, $left);
    }};
}

/// Writes `value` to shared memory.
///
/// # Safety
///
/// `target` must be writable for the size of `T`; it need not be aligned.
#[inline(always)]
pub unsafe fn write<T: NoUninit>(target: *mut u8, value: &T) {
    let (mut source, mut target, mut left) = (std::ptr::from_ref(value).cast::<u8>(), target, size_of::<T>());
    if left <= IN_REGISTERS && !MODEL {
        words!(source.read, target.write_volatile, left);
    } else {
        // SAFETY: `value` is valid for its size and has no uninitialised bytes; the caller vouches for the target; a reference
        // to private memory cannot overlap it.
        unsafe { copy(source, target, left) }
    }
}

/// Reads a value from shared memory.
///
/// # Safety
///
/// `source` must be readable for the size of `T`; it need not be aligned.
#[inline(always)]
pub unsafe fn read<T: AnyBitPattern>(source: *const u8) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    let (mut source, mut target, mut left) = (source, value.as_mut_ptr().cast::<u8>(), size_of::<T>());
    if left <= IN_REGISTERS && !MODEL {
        words!(source.read_volatile, target.write, left);
    } else {
        // SAFETY: the caller vouches for the source; private memory does not overlap it.
        unsafe { copy(source, target, left) }
    }
    // SAFETY: every byte was written above, and any bit pattern is a `T`.
    unsafe { value.assume_init() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_alignment() {
        let source: Vec<u8> = (0..1024_u32).map(|index| (index * 7 + 3) as u8).collect();
        for offset in 0..9 {
            for len in 0..700 {
                let mut target = vec![0xEE_u8; 1024];
                // SAFETY: both vectors have 1024 bytes, more than 8 + 8 + 699.
                unsafe { copy(source.as_ptr().add(offset), target.as_mut_ptr().add(8 - offset), len) };
                assert_eq!(target[8 - offset..8 - offset + len], source[offset..offset + len], "{offset} {len}");
                assert!(target[..8 - offset].iter().chain(&target[8 - offset + len..]).all(|byte| *byte == 0xEE));
            }
        }
    }

    #[test]
    fn values_round_trip() {
        let mut memory = [0_u8; 64];
        // SAFETY: the array is longer than the value at any offset used here.
        let back: [u16; 5] = unsafe {
            write(memory.as_mut_ptr().add(3), &[1_u16, 2, 3, 4, 65535]);
            read(memory.as_ptr().add(3))
        };
        assert_eq!(back, [1, 2, 3, 4, 65535]);
    }

    fn round_trip<const N: usize>() {
        let value: [u8; N] = std::array::from_fn(|index| (index * 11 + 5) as u8);
        let mut memory = [0xEE_u8; 200];
        // SAFETY: the array is longer than the largest value used here at this offset.
        let back: [u8; N] = unsafe {
            write(memory.as_mut_ptr().add(5), &value);
            read(memory.as_ptr().add(5))
        };
        assert_eq!(back, value);
        assert!(memory[..5].iter().chain(&memory[5 + N..]).all(|byte| *byte == 0xEE), "{N}");
    }

    #[test]
    fn values_of_every_kind_of_length_stay_within_it() {
        round_trip::<0>();
        round_trip::<1>();
        round_trip::<7>();
        round_trip::<8>();
        round_trip::<15>();
        round_trip::<56>();
        round_trip::<63>();
        round_trip::<64>();
        round_trip::<65>();
        round_trip::<129>();
    }
}
