//! Compaction: sealed files are merged, so that what a stream has lies together, and what is dead is left out.
//!
//! Files are neighbours in the log when they are merged, so that what a stream has in a later file keeps having
//! higher positions.

#[cfg(test)]
mod damaged;
mod merge;
mod plan;
#[cfg(test)]
mod tests;

pub(crate) use merge::run;
pub(crate) use plan::{Aim, PlanOptions, plan};
