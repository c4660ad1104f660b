//! What the protocol stands on: bytes that can be read, written and flushed. A mapping in earnest, an array that loses power in the simulator.

use ipc_core::Error;

/// What a flush is for: which step of the protocol asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Everything, before anybody can find the journal.
    Creation,
    /// Records that are to be acknowledged.
    Records,
    /// A header that moves the checkpoint or gives space back.
    Checkpoint,
    /// Recovery: the headers as they were found, before any of them is believed.
    FoundHeaders,
    /// Recovery: the records that it accepted.
    FoundRecords,
    /// Recovery: the header that begins the new epoch.
    NewEpoch,
}

/// Bytes that the journal's lasting part stands in.
///
/// Until a flush of a range returns, every 8-byte word of it that was written since the last one may have reached the medium or not, in any
/// combination. Ranges given to these functions are inside [`len`](Self::len), and begin and end at multiples of 8.
pub(super) trait Backend {
    /// How many bytes there are.
    fn len(&self) -> u64;

    /// Copies bytes out.
    fn read(&self, at: u64, bytes: &mut [u8]);

    /// Copies bytes in. They are seen by who reads; they are on the medium when a flush says so.
    fn write(&self, at: u64, bytes: &[u8]);

    /// Makes the range as it is now durable.
    ///
    /// # Errors
    ///
    /// Whatever the medium says: what was written since the last flush that succeeded may then be there or not, for good.
    fn flush(&self, at: u64, len: u64, purpose: Purpose) -> Result<(), Error>;
}
