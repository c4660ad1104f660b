//! The first 16 bytes of the input are a handle; the rest stands in the place of a slab: holders, hints, slots.
#![no_main]

use faults::everything::use_slab;
use faults::message::Fixed;
use fuzz::slabs;
use ipc_core::{Handle, Slab};
use ipc_ring::spsc::Ring;

fuzz::slab!(slabs::slab, Slab<Fixed>, Ring<Handle>, use_slab);
