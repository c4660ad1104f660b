//! What the protocol insists on, one by one, so that the simulator can show that each of it is needed.

/// The steps and checks of the protocol. All of them are taken by a journal; the simulator leaves out one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// A record counts only with its checksum.
    pub(super) record_checksum: bool,
    /// A record counts only with the position at which it stands.
    pub(super) record_position: bool,
    /// After the checkpoint a record counts only with the epoch of the header.
    pub(super) record_epoch: bool,
    /// A header counts only with its checksum.
    pub(super) header_checksum: bool,
    /// Headers are written in turn, so that one is whole at any time.
    pub(super) header_in_turn: bool,
    /// Of two good headers the one with the higher generation counts.
    pub(super) header_highest: bool,
    /// Recovery begins a new epoch.
    pub(super) new_epoch: bool,
    /// Recovery writes its header under a new generation.
    pub(super) new_generation: bool,
    /// Recovery writes what it found once more before it flushes it.
    pub(super) rewrite: bool,
    /// Both ranges are flushed when records go over the end of the area.
    pub(super) flush_both_ranges: bool,
    /// Records are acknowledged after the flush, not before.
    pub(super) acknowledge_after: bool,
    /// Space is given back after the header that says so is durable.
    pub(super) release_after: bool,
    /// A checkpoint names what is durable, not what is only written.
    pub(super) checkpoint_durable: bool,
    /// A flush goes to the end of what it acknowledges, not only to the end of the last full line before it.
    pub(super) flush_to_the_end: bool,
    /// Recovery goes on after the last good record, not at the checkpoint.
    pub(super) keep_after_checkpoint: bool,
}

impl Rules {
    /// All of them.
    pub(super) const SOUND: Self = Self {
        record_checksum: true,
        record_position: true,
        record_epoch: true,
        header_checksum: true,
        header_in_turn: true,
        header_highest: true,
        new_epoch: true,
        new_generation: true,
        rewrite: true,
        flush_both_ranges: true,
        acknowledge_after: true,
        release_after: true,
        checkpoint_durable: true,
        flush_to_the_end: true,
        keep_after_checkpoint: true,
    };
}
