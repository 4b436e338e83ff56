//! Limits and choices of an engine.

use std::time::Duration;

use durastream_storage::StoreOptions;

/// Limits and choices of an engine. Every one has a default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The log's options.
    pub store: StoreOptions,
    /// Largest body of one append or creation, in bytes; default 64 MiB.
    pub max_append_bytes: usize,
    /// Deepest nesting of a JSON message; default 128.
    pub max_json_depth: usize,
    /// Longest number in a JSON message, in bytes as written; default 4,096.
    pub max_json_number_bytes: usize,
    /// Most producers one stream remembers; default 10,000.
    pub max_producers_per_stream: usize,
    /// Most streams; default 10,000,000.
    pub max_streams: usize,
    /// Longest chain of forks of forks, the last one included; default 64. A read may walk all of it.
    pub max_fork_depth: usize,
    /// Longest producer id, in bytes; default 1,024.
    pub max_producer_id_bytes: usize,
    /// Longest `Stream-Seq`, in bytes; default 1,024.
    pub max_stream_seq_bytes: usize,
    /// Longest content type, in bytes; default 256.
    pub max_content_type_bytes: usize,
    /// How often the reaper looks for expired streams; default 1 s.
    pub reap_interval: Duration,
    /// Log bytes after which a checkpoint is made in the background; default 256 MiB.
    pub checkpoint_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            store: StoreOptions::default(),
            max_append_bytes: 64 << 20,
            max_json_depth: 128,
            max_json_number_bytes: 4096,
            max_producers_per_stream: 10_000,
            max_streams: 10_000_000,
            max_fork_depth: 64,
            max_producer_id_bytes: 1024,
            max_stream_seq_bytes: 1024,
            max_content_type_bytes: 256,
            reap_interval: Duration::from_secs(1),
            checkpoint_bytes: 256 << 20,
        }
    }
}
