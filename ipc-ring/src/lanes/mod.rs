//! Lanes: a one-to-one ring for each producer, all in one object, and the table of who has which.
//!
//! A producer takes a lane by claiming its role, a compare-and-swap that names the claimer, so a lane is never held by somebody who cannot be found dead. All
//! that it does from then on it does in its own lane: no producer waits for another, whatever happens to that one, and nothing of what one was killed in the middle of is
//! met by another. Who consumes looks only at the lanes that have something: [`Announcements`].

mod announcement;
mod table;

pub(crate) use announcement::{Announcement, Announcements};
pub use table::Options;
pub(crate) use table::{Geometry, Table};
