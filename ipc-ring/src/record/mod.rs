//! Records of any length in place: what the rings that carry them [lend](Grant), and how they [frame](self#framing) them.
//!
//! Name the types by the rings' own names, [`spsc::Grant`](crate::spsc::Grant) and so on.
//!
//! # Framing
//!
//! A record is a control word and its payload. One that fits in a cache line with its control word never straddles two; a longer one begins at a line and takes whole lines. The control word says where it
//! is valid, so that neither old payload nor an old record is taken for one; docs/FORMAT.md draws it.

mod bytes;
mod cursor;
mod grant;
mod layout;
mod slice;
mod view;
mod writer;

pub(crate) use bytes::{Bytes, Found};
pub(crate) use cursor::Cursor;
pub use grant::Grant;
pub(crate) use grant::Lends;
pub(crate) use layout::{
    CONTROL, Control, MAX_CAPACITY, MAX_POSITION, MIN_CAPACITY, Place, batch, decode, end, max_record, padding_word,
    place, record_word, ring_bytes, spare,
};
pub(crate) use slice::{Commits, push_slice, try_push_slice};
pub use view::View;
pub(crate) use view::{Takes, pop_each};
pub(crate) use writer::Writer;
