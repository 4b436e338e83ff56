//! Whose payloads are still needed.

/// Says what of the streams' history is alive, so that the rest need not be kept.
///
/// Asked by the store's own thread while it seals and compacts, with no lock of the store held.
/// Answered from durable state only: what was once told to be dead is dropped, and must never be asked for again.
pub trait Tenancy: Send + Sync {
    /// For each of `streams`, in order, pushes the position below which its payload is dead: nobody, no fork and no
    /// reader can reach it; `None` when all of it is, because the stream is durably gone.
    fn live(&self, streams: &[u64], out: &mut Vec<Option<u64>>);
}

/// Keeps everything.
pub(crate) struct EverythingAlive;

impl Tenancy for EverythingAlive {
    fn live(&self, streams: &[u64], out: &mut Vec<Option<u64>>) {
        out.extend(streams.iter().map(|_| Some(0)));
    }
}
