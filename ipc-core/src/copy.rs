//! Copies between private memory and shared memory that another process may write at the same time.
//!
//! No reference to shared memory is ever formed here: bytes are moved by loads and stores of up to 32 bytes that the compiler may neither
//! invent, repeat nor drop. A peer that breaks the protocol can make the copy hold wrong bytes; nothing else can come of it.
//!
//! On x86-64 chunks at any alignment are moved by instructions written out: the compiler takes a volatile access to a packed chunk over the stack,
//! which doubles the stores, and a producer's stores to contended lines are what its throughput hangs on (slices of words between two cores were four times
//! as fast without). A 256-bit copy of 4 KiB is as fast as memcpy, an 8-byte one eight times slower, so large copies use AVX where the processor has it.
#![expect(unsafe_code, reason = "volatile access through raw pointers")]

#[cfg(target_arch = "x86_64")]
use std::arch::asm;
use std::mem::MaybeUninit;

use bytemuck::{AnyBitPattern, NoUninit};

use crate::sync::MODEL;

/// From this many bytes on, the wider loop is worth the question whether the processor has it.
#[cfg(target_arch = "x86_64")]
const WIDE: usize = 128;

/// Moves one chunk of `N` bytes (1, 2, 4, 8 or 16) at any alignment: loaded once, stored once.
///
/// # Safety
///
/// `source` must be readable and `target` writable for `N` bytes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn move_chunk<const N: usize>(source: *const u8, target: *mut u8) {
    // SAFETY: the caller vouches for both ends; the instructions touch nothing else, and each register is an output of its statement.
    unsafe {
        match N {
            16 => {
                asm!("movups {0}, [{1}]", "movups [{2}], {0}", out(xmm_reg) _, in(reg) source, in(reg) target, options(nostack, preserves_flags))
            }
            8 => {
                asm!("mov {0}, [{1}]", "mov [{2}], {0}", out(reg) _, in(reg) source, in(reg) target, options(nostack, preserves_flags))
            }
            4 => {
                asm!("mov {0:e}, [{1}]", "mov [{2}], {0:e}", out(reg) _, in(reg) source, in(reg) target, options(nostack, preserves_flags))
            }
            2 => {
                asm!("mov {0:x}, [{1}]", "mov [{2}], {0:x}", out(reg) _, in(reg) source, in(reg) target, options(nostack, preserves_flags))
            }
            _ => target.write_volatile(source.read_volatile()),
        }
    }
}

/// As above, where the compiler has to do it.
///
/// # Safety
///
/// As above.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
unsafe fn move_chunk<const N: usize>(source: *const u8, target: *mut u8) {
    #[derive(Clone, Copy)]
    #[repr(C, packed)]
    struct Chunk<T>(T);
    // SAFETY: the caller vouches for both ends; a packed chunk has alignment 1.
    unsafe {
        match N {
            16 => target.cast::<Chunk<[u64; 2]>>().write_volatile(source.cast::<Chunk<[u64; 2]>>().read_volatile()),
            8 => target.cast::<Chunk<u64>>().write_volatile(source.cast::<Chunk<u64>>().read_volatile()),
            4 => target.cast::<Chunk<u32>>().write_volatile(source.cast::<Chunk<u32>>().read_volatile()),
            2 => target.cast::<Chunk<u16>>().write_volatile(source.cast::<Chunk<u16>>().read_volatile()),
            _ => target.write_volatile(source.read_volatile()),
        }
    }
}

/// Moves 16 bytes out of shared memory: loaded once, then an ordinary store, which the compiler may leave out or place elsewhere.
///
/// # Safety
///
/// `source` must be readable and `target` writable for 16 bytes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn load_16(source: *const u8, target: *mut u8) {
    let chunk: std::arch::x86_64::__m128i;
    // SAFETY: the caller vouches for both ends; the load touches nothing else.
    unsafe {
        asm!("movups {0}, [{1}]", out(xmm_reg) chunk, in(reg) source, options(nostack, preserves_flags, readonly));
        target.cast::<std::arch::x86_64::__m128i>().write_unaligned(chunk);
    }
}

/// Reads as many of `$left` bytes as make whole 16-byte chunks into private memory.
///
/// Whoever uses a value just read loads it again, often 16 bytes at a time to move it elsewhere. Had it been stored word by word, such a load would wait until those
/// stores, and the slow ones to shared lines before them, have left the core; narrower loads of a wide store do not wait. Writing is the other way round.
macro_rules! load_wide {
    ($source:ident, $target:ident, $left:ident) => {
        #[cfg(target_arch = "x86_64")]
        while $left >= 16 {
            // SAFETY: the caller of the enclosing function vouches for `$left` bytes at both ends.
            unsafe {
                load_16($source, $target);
                $source = $source.add(16);
                $target = $target.add(16);
            }
            $left -= 16;
        }
    };
}

/// Moves one chunk and steps both pointers over it.
macro_rules! step {
    ($size:literal, $source:ident, $target:ident, $left:ident) => {{
        // SAFETY: the caller of the enclosing function vouches for `$left` bytes at both ends, and the condition around this
        // says that the chunk is no longer than that.
        unsafe {
            move_chunk::<$size>($source, $target);
            $source = $source.add($size);
            $target = $target.add($size);
        }
        $left -= $size;
    }};
}

/// Copies `len` bytes, each loaded once and stored once.
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
        let wide = left & !31;
        // SAFETY: AVX is there, and the caller vouches for at least `wide` bytes at both ends.
        unsafe {
            copy_wide(source, target, wide);
            source = source.add(wide);
            target = target.add(wide);
        }
        left -= wide;
    }
    // What is no longer than a line was often just written word by word: a wider load of it would wait until those stores have left the core.
    while left >= 16 && len > IN_REGISTERS {
        step!(16, source, target, left);
    }
    while left >= 8 {
        step!(8, source, target, left);
    }
    if left >= 4 {
        step!(4, source, target, left);
    }
    if left >= 2 {
        step!(2, source, target, left);
    }
    if left >= 1 {
        step!(1, source, target, left);
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
        // SAFETY: `done + 128 <= len`, and the caller vouches for `len` bytes at both ends; the instructions touch nothing else.
        unsafe {
            asm!(
                "vmovups {0}, [{4}]",
                "vmovups {1}, [{4} + 32]",
                "vmovups {2}, [{4} + 64]",
                "vmovups {3}, [{4} + 96]",
                "vmovups [{5}], {0}",
                "vmovups [{5} + 32], {1}",
                "vmovups [{5} + 64], {2}",
                "vmovups [{5} + 96], {3}",
                out(ymm_reg) _, out(ymm_reg) _, out(ymm_reg) _, out(ymm_reg) _,
                in(reg) source.add(done), in(reg) target.add(done),
                options(nostack, preserves_flags)
            );
        }
        done += 128;
    }
    while done + 32 <= len {
        // SAFETY: as above, for 32 bytes.
        unsafe {
            asm!(
                "vmovups {0}, [{1}]", "vmovups [{2}], {0}",
                out(ymm_reg) _, in(reg) source.add(done), in(reg) target.add(done),
                options(nostack, preserves_flags)
            );
        }
        done += 32;
    }
    // The compiler does not see that the registers were used; what comes after may be slow while their upper halves are dirty.
    std::arch::x86_64::_mm256_zeroupper();
}

/// Values of up to a cache line go word by word, and only the shared side is volatile: so they stay in registers on the private one. Copied through
/// memory in chunks, a value that was just made of words stalls on its own stores.
const IN_REGISTERS: usize = 64;

/// Moves a value of up to [`IN_REGISTERS`] bytes, or a run of such values. `$shared` is the side that others may write: where it is aligned to words, as it nearly
/// always is, only that side is volatile.
macro_rules! words {
    ($shared:ident, $source:ident.$read:ident, $target:ident.$write:ident, $left:ident) => {{
        if $shared.addr().is_multiple_of(size_of::<u64>()) {
            while $left >= size_of::<u64>() {
                // SAFETY: the caller of the enclosing function vouches for `$left` bytes at both ends; the shared side is aligned, and the private one is
                // accessed as unaligned.
                unsafe {
                    $target.cast::<u64>().$write($source.cast::<u64>().$read());
                    $source = $source.add(size_of::<u64>());
                    $target = $target.add(size_of::<u64>());
                }
                $left -= size_of::<u64>();
            }
        }
        // The rest; or all of it.
        while $left >= 8 {
            step!(8, $source, $target, $left);
        }
        if $left >= 4 {
            step!(4, $source, $target, $left);
        }
        if $left >= 2 {
            step!(2, $source, $target, $left);
        }
        if $left >= 1 {
            step!(1, $source, $target, $left);
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
        words!(target, source.read_unaligned, target.write_volatile, left);
    } else {
        // SAFETY: `value` is valid for its size and has no uninitialised bytes; the caller vouches for the target; a reference
        // to private memory cannot overlap it.
        unsafe { copy(source, target, left) }
    }
}

/// Asks for the cache lines of `len` bytes from `start` on, to read them soon: all of them are on their way then, instead of as many as the processor sees ahead.
/// An address that is not mapped is ignored.
#[inline(always)]
pub fn prefetch(start: *const u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..len).step_by(crate::sync::CACHE_LINE) {
        // SAFETY: a prefetch reads nothing and raises no fault, whatever the address.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(start.wrapping_add(offset).cast())
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, len);
}

/// As [`prefetch`], to write them.
#[inline(always)]
pub fn prefetch_to_write(start: *const u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..len).step_by(crate::sync::CACHE_LINE) {
        // SAFETY: as in `prefetch`; a processor without the instruction does nothing.
        unsafe {
            asm!("prefetchw [{}]", in(reg) start.wrapping_add(offset), options(nostack, preserves_flags, readonly))
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, len);
}

/// Writes a short run of values to shared memory, such as those of one cache line, one after the other.
///
/// Small values go word by word like a single one, for the same reason: a producer that has just filled its slice would wait here until its last
/// stores have left the core, which takes as long as the lines that they go to take to arrive. Slices of words were five times as fast for it.
///
/// # Safety
///
/// `target` must be writable for the size of the slice; it need not be aligned.
#[inline(always)]
pub unsafe fn write_slice<T: NoUninit>(target: *mut u8, values: &[T]) {
    let (mut source, mut target, mut left) = (values.as_ptr().cast::<u8>(), target, size_of_val(values));
    if size_of::<T>() <= IN_REGISTERS && !MODEL {
        words!(target, source.read_unaligned, target.write_volatile, left);
    } else {
        // SAFETY: the slice is valid for its size and has no uninitialised bytes; the caller vouches for the target; a reference to
        // private memory cannot overlap it.
        unsafe { copy(source, target, left) }
    }
}

/// Reads a short run of values from shared memory.
///
/// # Safety
///
/// `source` must be readable for the size of the slice; it need not be aligned.
#[inline(always)]
pub unsafe fn read_slice<T: NoUninit + AnyBitPattern>(source: *const u8, values: &mut [T]) {
    let (mut source, mut target, mut left) = (source, values.as_mut_ptr().cast::<u8>(), size_of_val(values));
    if size_of::<T>() <= IN_REGISTERS && !MODEL {
        load_wide!(source, target, left);
        words!(source, source.read_volatile, target.write_unaligned, left);
    } else {
        // SAFETY: as for `write_slice`, the other way round; every bit pattern is a `T`.
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
        load_wide!(source, target, left);
        words!(source, source.read_volatile, target.write_unaligned, left);
    } else {
        // SAFETY: the caller vouches for the source; private memory does not overlap it.
        unsafe { copy(source, target, left) }
    }
    // SAFETY: every byte was written above, and any bit pattern is a `T`.
    unsafe { value.assume_init() }
}

/// Copies between which and other processes' copies nothing but luck may stand: the reader finds out afterwards whether what it got is torn, and throws it away then.
///
/// What tells it is a word that the writer stores *before* it writes, with a Release fence between them, and that the reader loads after it has read, with an Acquire fence between
/// (H.-J. Boehm, "Can seqlocks get along with programming language memory models?", MSPC 2012). To the processor these are the copies above; to a
/// model checker they are Relaxed accesses of words, where the others are plain ones that must not race.
pub mod racing {
    use bytemuck::{AnyBitPattern, NoUninit};

    /// As [`copy`](super::copy).
    ///
    /// # Safety
    ///
    /// As there.
    #[inline(always)]
    pub unsafe fn copy(source: *const u8, target: *mut u8, len: usize) {
        #[cfg(any(ipc_model = "loom", ipc_model = "shuttle"))]
        // SAFETY: as the caller says.
        unsafe {
            crate::sync::model::copy_racing(source, target, len);
        }
        #[cfg(not(any(ipc_model = "loom", ipc_model = "shuttle")))]
        // SAFETY: as the caller says.
        unsafe {
            super::copy(source, target, len);
        }
    }

    /// As [`write`](super::write).
    ///
    /// # Safety
    ///
    /// As there.
    #[inline(always)]
    pub unsafe fn write<T: NoUninit>(target: *mut u8, value: &T) {
        if crate::sync::MODEL {
            // SAFETY: a value has no uninitialised bytes, and private memory does not overlap shared memory; the caller vouches for the target.
            unsafe { copy(std::ptr::from_ref(value).cast(), target, size_of::<T>()) }
        } else {
            // SAFETY: as the caller says.
            unsafe { super::write(target, value) }
        }
    }

    /// As [`read`](super::read).
    ///
    /// # Safety
    ///
    /// As there.
    #[inline(always)]
    pub unsafe fn read<T: AnyBitPattern>(source: *const u8) -> T {
        if crate::sync::MODEL {
            let mut value = std::mem::MaybeUninit::<T>::uninit();
            // SAFETY: the caller vouches for the source; every byte is written, and any bit pattern is a `T`.
            unsafe {
                copy(source, value.as_mut_ptr().cast(), size_of::<T>());
                value.assume_init()
            }
        } else {
            // SAFETY: as the caller says.
            unsafe { super::read(source) }
        }
    }

    /// As [`write_slice`](super::write_slice).
    ///
    /// # Safety
    ///
    /// As there.
    #[inline(always)]
    pub unsafe fn write_slice<T: NoUninit>(target: *mut u8, values: &[T]) {
        if crate::sync::MODEL {
            // SAFETY: as in `write`.
            unsafe { copy(values.as_ptr().cast(), target, size_of_val(values)) }
        } else {
            // SAFETY: as the caller says.
            unsafe { super::write_slice(target, values) }
        }
    }

    /// As [`read_slice`](super::read_slice).
    ///
    /// # Safety
    ///
    /// As there.
    #[inline(always)]
    pub unsafe fn read_slice<T: NoUninit + AnyBitPattern>(source: *const u8, values: &mut [T]) {
        if crate::sync::MODEL {
            // SAFETY: as in `read`.
            unsafe { copy(source, values.as_mut_ptr().cast(), size_of_val(values)) }
        } else {
            // SAFETY: as the caller says.
            unsafe { super::read_slice(source, values) }
        }
    }
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
