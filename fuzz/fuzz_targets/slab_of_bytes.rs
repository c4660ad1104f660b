//! As `slab`, of a slab of bytes in three sizes, whose handles travel in a ring with lanes.
#![no_main]

use faults::everything::use_slab_of_bytes;
use fuzz::slabs;
use ipc_core::{Handle, SlabBytes};
use ipc_ring::mpsc::Ring;

fuzz::slab!(slabs::slab_of_bytes, SlabBytes, Ring<Handle>, use_slab_of_bytes);
