//! The mutations, a list for each structure.

mod blackboard;
mod broadcast;
mod cell;
mod journal;
mod lanes;
mod ordered;
mod roles;
mod shared;
mod slab;
mod spsc;
mod waiting;

use crate::mutation::List;

pub(crate) const LISTS: &[&List] = &[
    &spsc::SPSC,
    &roles::ROLES,
    &waiting::WAITING,
    &lanes::LANES,
    &shared::SHARED,
    &ordered::ORDERED,
    &broadcast::BROADCAST,
    &cell::CELL,
    &blackboard::BLACKBOARD,
    &journal::JOURNAL,
    &slab::SLAB,
];
