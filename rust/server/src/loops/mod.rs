//! The loops of the fast path: one thread each over epoll, and what their connections share.

pub(crate) mod acceptor;
pub(crate) mod acks;
pub(crate) mod blocking;
pub(crate) mod crowds;
pub(crate) mod desk;
pub(crate) mod eventloop;
pub(crate) mod mailbox;
pub(crate) mod slots;
mod timers;
