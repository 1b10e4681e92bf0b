//! The arena: frames in shared memory; `docs/arena.md` has the bytes.
//!
//! - [`Arena`]: a process's own, whose [`Slot`]s it fills and lends.
//! - [`Peers`]: other processes' arenas, whose slots are read as a [`View`]; a [`Caller`] is one of them that slots are lent to.
//! - `layout`: where things are in a file; `words`: who writes what when; `folder`: the files.
//! - `map` and `fault`: the memory, and what becomes of it when somebody cuts the file off; `fork`: whose it is.

mod fault;
mod folder;
mod fork;
mod free;
mod layout;
mod lent;
mod map;
mod owner;
mod peers;
mod places;
mod slot;
mod view;
mod words;

pub use folder::Folder;
pub use owner::{Arena, Usage};
pub use peers::{Caller, Peers};
pub use slot::Slot;
pub use view::View;
