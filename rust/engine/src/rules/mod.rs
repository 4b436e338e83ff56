//! The rules, pure: what a command may do to a state, and what an event does to it.

mod append;
mod apply;
mod change;
mod create;
mod lookup;
#[cfg(any(test, fuzzing))]
mod tests;

pub(crate) use append::{AppendDecision, decide_append};
pub(crate) use apply::apply;
pub(crate) use change::{
    ConfigureDecision, TrimDecision, decide_configure, decide_delete, decide_trim,
};
pub(crate) use create::{
    CreateDecision, CreateRequest, DEFAULT_TYPE, SubPoint, decide_create, info,
};
pub(crate) use lookup::lookup;
#[cfg(fuzzing)]
pub(crate) use tests::script;
