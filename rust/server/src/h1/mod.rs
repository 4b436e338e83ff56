//! HTTP/1.1 on one connection: strict in what it accepts (RFC 9112), one request after the other.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod chunks;
pub(crate) mod connection;
mod drive;
mod ending;
mod gather;
pub(crate) mod head;
mod input;
mod output;
mod relay;
mod upload;
