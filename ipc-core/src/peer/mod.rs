//! Peers: the processes that are attached to a segment, and which of them live.
//!
//! Liveness is asked of the kernel, never of a clock. A peer's **lease** is an open-file-description lock on one byte of the
//! segment's own file, on a description that the peer opened for itself; the kernel drops it when the process dies, in
//! whatever way. As a forked child that was not told of the segment keeps its parent's description open, the table also holds
//! boot, pid namespace, pid and start time: a peer is dead when its lock is free, or when its pid in *our* namespace is gone or
//! has another start time. Slow is not dead: a stopped process keeps its lease, and nothing times out.

pub mod process;
mod role;
pub(crate) mod roles;
mod table;

pub use crate::error::PeerDescription;
pub use role::{Claim, Role, RoleState};
pub use roles::{HeldRole, MAX_ROLES, ROLE_ENTRY_SIZE, RoleTable, Roles};
pub(crate) use table::{Entries, PEER_ENTRY_SIZE, PeerTable, lease_bytes};
pub use table::{PeerId, PeerInfo};
