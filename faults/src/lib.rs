//! What the world will do to every structure, tried.

pub mod allocation;
pub mod calls;
pub mod everything;
pub mod format;
pub mod random;
