//! Lanes: a one-to-one ring for each producer, all in one object, and the table of who has which.
//!
//! A producer takes a lane by claiming its role, a compare-and-swap that names the claimer, so a lane is never held by somebody who cannot be found dead. All
//! that it does from then on it does in its own lane: no producer waits for another, whatever happens to that one, and nothing of what one was killed in the middle of is
//! met by another.
//!
//! This is what the rings of [`mpsc`](crate::mpsc) and [`mpmc`](crate::mpmc) have in common: their producers. Name them by the rings' own names, [`mpsc::Producer`](crate::mpsc::Producer) and so on.

// One who consumes all lanes looks only at those that have something: `Announcements`. Where many consume, each message is claimed by one of them: `Claims`; `Seats` says who they are.
mod announcement;
mod backlog;
mod claims;
mod producer;
mod record_producer;
mod ring;
mod seats;
mod sides;
mod table;
mod view;

pub(crate) use announcement::{Announcement, Announcements};
pub(crate) use backlog::{AHEAD, FEW, backlog};
pub(crate) use claims::{Claim, Claims, ClaimsLayout, LONGEST, MOST_UNITS, Spot};
pub use producer::Producer;
pub use record_producer::RecordProducer;
pub use ring::RingOfLanes;
pub(crate) use ring::{carries_records, carries_values, ring_of_lanes, sealed};
pub use seats::ConsumerInfo;
pub(crate) use seats::{Counts, MOST_CONSUMERS, Seats};
pub use table::Options;
pub(crate) use table::{DEFAULT_LANES, Geometry, Shape, Table};
pub use view::RingView;
