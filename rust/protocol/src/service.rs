//! The protocol over one engine: routing, shared limits, shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use durastream_engine::Engine;

use crate::config::Config;
use crate::cors::Cors;
use crate::exchange::Exchange;
use crate::framecache::FrameCache;
use crate::hold::Held;
use crate::problem::Problem;
use crate::response::Manner;
use crate::route::{ConfigError, Router};
use crate::sending::Sending;
use crate::{RequestHead, Response};

/// Encoded SSE chunks kept for sharing, in bytes.
const FRAME_CACHE_BYTES: usize = 32 << 20;

/// The protocol over an engine. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

/// What all exchanges share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) config: Config,
    pub(crate) router: Router,
    pub(crate) cors: Cors,
    pub(crate) frames: FrameCache,
    pub(crate) held: Arc<Held>,
    pub(crate) sending: Arc<Sending>,
    stopping: AtomicBool,
}

impl Shared {
    /// Whether live reads are to answer at once.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

impl Service {
    /// Wraps an engine. Base paths are normalised here, durations bounded.
    pub fn new(engine: Engine, config: Config) -> Result<Self, ConfigError> {
        let config = config.bounded();
        Ok(Self {
            shared: Arc::new(Shared {
                router: Router::new(&config.base_paths)?,
                cors: Cors::new(&config.cors_origins),
                frames: FrameCache::new(FRAME_CACHE_BYTES),
                held: Arc::new(Held::new(config.hold_count, config.hold_bytes)),
                sending: Arc::new(Sending::new(config.sending_bytes)),
                stopping: AtomicBool::new(false),
                engine,
                config,
            }),
        })
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// Whether a raw path is a stream's (or a control API's) by the base paths. `/` counts only for
    /// what the caller does not serve itself.
    pub fn routes(&self, path: &[u8]) -> bool {
        self.shared.router.below(path).is_some()
    }

    /// The base path that a raw path is below, without a slash at its end.
    pub fn base_path(&self, path: &[u8]) -> Option<&str> {
        self.shared.router.base(path)
    }

    /// Whether a request for this raw path is an operation on a stream, sound or not: below a base path,
    /// and no control API's.
    pub fn serves(&self, path: &[u8]) -> bool {
        self.shared.router.is_stream(path)
    }

    /// Begins to answer a request. Never blocks.
    pub fn begin(&self, head: &RequestHead<'_>) -> Exchange {
        Exchange::begin(Arc::clone(&self.shared), head)
    }

    /// A problem+json response with CORS and security headers, for faults that a listener itself finds
    /// (unparsable request, too many connections, shutdown, an unknown path).
    pub fn problem(&self, status: u16, title: &str, detail: &str) -> Response {
        let manner = Manner {
            grant: self.shared.cors.grant(None),
            bodiless: false,
            private: false,
        };
        Problem::new(status, "", title.to_owned(), detail)
            .answer()
            .finish(&manner)
    }

    /// From now on long-polls answer and SSE ends at the next step; new live reads answer at once.
    /// The listener steps its waiting exchanges once more after calling this.
    pub fn shut_down(&self) {
        self.shared.stopping.store(true, Ordering::Release);
    }
}
