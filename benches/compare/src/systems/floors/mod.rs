//! What the machine itself can do, without any system: the least that moving a message can cost.

mod lines;
mod streamed;
mod values;
mod wake;

pub(crate) use lines::{one_line, two_lines};
pub(crate) use streamed::Streamed;
pub(crate) use values::Uncontended;
pub(crate) use wake::{EventFd, Futex};
