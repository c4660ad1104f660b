//! What is in a message, and how its receiver knows that it is whole.
//!
//! Every 8-byte word of a message is its number, so the sender writes every byte of every message; the receiver looks at one word of each cache line,
//! and at the last. To see that the checks find what is wrong, a run can be told to damage the last word of every message.

use anyhow::bail;

/// The last message of a stream.
pub(crate) const END: u64 = (1 << 56) - 1;

/// The last message before the part that counts.
pub(crate) const MARK: u64 = END - 1;

/// Tells one of several consumers that all has been received.
pub(crate) const STOP: u64 = END - 2;

/// Marks a message's number with its producer, where there are several.
pub(crate) fn of_producer(producer: usize, number: u64) -> u64 {
    (producer as u64) << 56 | number
}

/// Number and producer.
pub(crate) fn parts(stamp: u64) -> (usize, u64) {
    ((stamp >> 56) as usize, stamp & END)
}

/// Fills a message. `damage` is 0, except to see that the receiver notices.
#[inline(always)]
pub(crate) fn fill(bytes: &mut [u8], number: u64, damage: u64) {
    let (words, _) = bytes.as_chunks_mut::<8>();
    for word in words.iter_mut() {
        *word = number.to_ne_bytes();
    }
    if let Some(last) = words.last_mut() {
        *last = number.wrapping_add(damage).to_ne_bytes();
    }
}

/// A message of a fixed size.
#[inline(always)]
pub(crate) fn message<const N: usize>(number: u64, damage: u64) -> [u64; N] {
    let mut words = [number; N];
    words[N - 1] = number.wrapping_add(damage);
    words
}

/// The number of a message, if all lines are of the same one.
#[inline(always)]
pub(crate) fn check(bytes: &[u8]) -> anyhow::Result<u64> {
    let (words, _) = bytes.as_chunks::<8>();
    let Some((first, last)) = words.first().zip(words.last()) else { bail!("a message of {} bytes", bytes.len()) };
    if !words.iter().step_by(8).all(|word| word == first) || last != first {
        return damaged(bytes.len(), *first);
    }
    Ok(u64::from_ne_bytes(*first))
}

#[cold]
fn damaged(len: usize, first: [u8; 8]) -> anyhow::Result<u64> {
    bail!("message {} of {len} bytes arrived damaged", u64::from_ne_bytes(first))
}

/// Whether the next message of a stream is the right one.
#[inline(always)]
pub(crate) fn expect(found: u64, expected: u64) -> anyhow::Result<()> {
    if found == expected { Ok(()) } else { unexpected(found, expected) }
}

#[cold]
fn unexpected(found: u64, expected: u64) -> anyhow::Result<()> {
    bail!("message {found} arrived where {expected} was expected")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_was_filled_in() {
        for size in [8, 56, 64, 1024] {
            let mut bytes = vec![0; size];
            fill(&mut bytes, 42, 0);
            assert_eq!(check(&bytes).unwrap(), 42);
            // One wrong byte at the start of any line, or in the last word.
            for at in (0..size).step_by(64).chain([size - 8]) {
                bytes[at] ^= 1;
                assert!(size == 8 || check(&bytes).is_err(), "{size} bytes, damaged at {at}");
                bytes[at] ^= 1;
            }
            fill(&mut bytes, 42, 1);
            assert!(check(&bytes).map_or(true, |number| number != 42));
        }
        assert!(check(&[]).is_err());
        assert_eq!(message::<2>(7, 1), [7, 8]);
    }

    #[test]
    fn numbers_know_their_producer() {
        assert_eq!(parts(of_producer(3, 99)), (3, 99));
        assert_eq!(parts(of_producer(1, END)), (1, END));
    }
}
