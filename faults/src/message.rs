//! Messages that say who sent them, which one they are, and whether they are whole.

use anyhow::{Result, ensure};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a message of fixed size, and of the shortest of any length: lane, sequence, filler, checksum.
pub const FIXED: usize = 32;

/// A message of fixed size, as words.
pub type Fixed = [u64; FIXED / 8];

/// The longest message of any length.
pub const LONGEST: usize = 600;

/// The message of fixed size of that lane and number.
pub fn fixed(lane: usize, sequence: u64) -> Fixed {
    let mut words = [lane as u64, sequence, filler(lane, sequence), 0];
    words[3] = sum(words[0], words[1], words[2]);
    words
}

fn filler(lane: usize, sequence: u64) -> u64 {
    sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ lane as u64
}

fn sum(lane: u64, sequence: u64, filler: u64) -> u64 {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&lane.to_le_bytes());
    bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
    bytes[16..].copy_from_slice(&filler.to_le_bytes());
    xxh3_64(&bytes)
}

/// Who sent a message of fixed size, and which one it is.
///
/// # Errors
///
/// If it is not whole.
pub fn read_fixed(words: &Fixed) -> Result<(usize, u64)> {
    let [lane, sequence, filler, checksum] = *words;
    ensure!(sum(lane, sequence, filler) == checksum, "torn: {words:x?}");
    Ok((lane as usize, sequence))
}

/// How long the message of any length of that number is: from 32 to 600 bytes, so that short ones share lines and long ones take several.
pub fn length(sequence: u64) -> usize {
    let mixed = sequence.wrapping_mul(0xD1B5_4A32_D192_ED03) >> 32;
    if mixed.is_multiple_of(4) {
        FIXED + (mixed % (LONGEST - FIXED) as u64) as usize
    } else {
        FIXED + (mixed % 25) as usize
    }
}

/// Makes `message` the message of any length of that lane and number.
pub fn write(lane: usize, sequence: u64, message: &mut Vec<u8>) {
    message.clear();
    message.extend_from_slice(&(lane as u64).to_le_bytes());
    message.extend_from_slice(&sequence.to_le_bytes());
    message.extend(std::iter::repeat_n(filler(lane, sequence) as u8, length(sequence) - 24));
    let checksum = xxh3_64(message);
    message.extend_from_slice(&checksum.to_le_bytes());
}

/// Who sent a message of any length, and which one it is.
///
/// # Errors
///
/// If it is not whole.
pub fn read(message: &[u8]) -> Result<(usize, u64)> {
    let (lane, sequence) = match message {
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] => {
            (u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), u64::from_le_bytes([*i, *j, *k, *l, *m, *n, *o, *p]))
        }
        short => anyhow::bail!("torn: {} bytes", short.len()),
    };
    let expected = length(sequence);
    ensure!(message.len() == expected, "torn: {} bytes, {expected} expected of {lane}/{sequence}", message.len());
    let (body, checksum) = message.split_at(message.len() - 8);
    ensure!(checksum == xxh3_64(body).to_le_bytes(), "torn: the checksum of {lane}/{sequence} is wrong");
    Ok((lane as usize, sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_written_and_damage_is_seen() {
        let mut message = Vec::new();
        for sequence in 0..1000 {
            let mut words = fixed(3, sequence);
            assert_eq!(read_fixed(&words).unwrap(), (3, sequence));
            words[2] ^= 1 << (sequence % 64);
            assert!(read_fixed(&words).is_err());
            write(3, sequence, &mut message);
            assert!((FIXED..=LONGEST).contains(&message.len()));
            assert_eq!(read(&message).unwrap(), (3, sequence));
            let at = sequence as usize % message.len();
            message[at] ^= 1;
            assert!(read(&message).is_err());
        }
        assert!(read(&[]).is_err() && read(&[0; 600]).is_err());
    }
}
