//! Streams on a log: create, append, read, watch, close, fork, expire, trim, delete, list.
//!
//! The rules are pure: `decide(state, command) -> event | rejection` and `apply(state, event)`. The
//! live path decides, logs the event, applies it; recovery only applies.
//!
//! Every answer is a [`Ticket`]: an outcome and the LSN it depends on. An outcome may be told to
//! anybody only once that LSN is durable ([`Engine::wait`], [`Engine::notify`]); that covers
//! acknowledgements, duplicates that wait for their original and refusals that wait for their cause.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub use durastream_storage as storage;

#[cfg(fuzzing)]
pub mod fuzzing;
pub mod offset;
pub mod path;
pub mod tools;
pub mod wire;

mod body;
mod checkpoint;
mod commit;
mod core;
mod creating;
mod directory;
mod engine;
mod errors;
mod event;
mod housekeeping;
mod index;
mod list;
mod moment;
mod needs;
mod options;
mod page;
mod reader;
mod recovery;
mod retention;
mod rules;
mod save;
mod sealed;
mod snapshot;
mod span;
mod state;
mod stats;
mod stream;
mod streams;
mod trimming;
mod types;
mod varint;
mod watch;
mod write;

pub use engine::Engine;
pub use errors::{AppendError, ChangeError, CreateError, LimitError, LookupError, PageError};
pub use offset::Offset;
pub use options::Options;
pub use path::StreamPath;
pub use reader::Reader;
pub use retention::{Limit, Reconfigure, Retention};
pub use stats::EngineStats;
pub use types::{
    Append, Appended, Clock, Create, Created, Expiry, ForkSpec, From, Listing, Page, Producer,
    StreamInfo, Ticket,
};
pub use watch::{CompletionSink, Wake, WatchFor, WatchId};
