//! Which requests are for the streams, and which for the listener behind this one.

use std::path::PathBuf;

use durastream_protocol::Service;
use percent_encoding::percent_decode;

/// Where requests go that are no operations of streams.
#[derive(Debug, Clone, Default)]
pub struct Upstream {
    /// Unix socket of an HTTP/1.1 server; none: every request is answered here.
    pub socket: Option<PathBuf>,
    /// Paths of that server that go before a base path of `/`: one, or with a trailing slash all
    /// below it.
    pub own_paths: Vec<String>,
}

/// Decides between the two.
#[derive(Debug)]
pub(crate) struct Routes {
    upstream: Upstream,
}

impl Routes {
    pub(crate) fn new(upstream: Upstream) -> Self {
        Self { upstream }
    }

    /// The socket that a request goes to, if it is not for the streams.
    pub(crate) fn elsewhere(
        &self,
        service: &Service,
        method: &str,
        path: &[u8],
    ) -> Option<&PathBuf> {
        let socket = self.upstream.socket.as_ref()?;
        // Every path has the same answer to a preflight.
        if method == "OPTIONS" {
            return None;
        }
        (self.is_own(path) || !service.serves(path)).then_some(socket)
    }

    /// Whether no spelling of this path is a stream.
    fn is_own(&self, path: &[u8]) -> bool {
        let decoded: Vec<u8>;
        let path = if path.contains(&b'%') {
            decoded = percent_decode(path).collect();
            &decoded
        } else {
            path
        };
        self.upstream.own_paths.iter().any(|own| {
            let own = own.as_bytes();
            path == own || (own.ends_with(b"/") && path.starts_with(own))
        })
    }
}

#[cfg(test)]
mod tests {
    use durastream_engine::{Engine, Options};
    use durastream_protocol::Config;

    use super::*;

    #[test]
    fn what_is_no_operation_of_a_stream_goes_elsewhere() {
        let engine = Engine::in_memory(Options::default()).unwrap();
        let mut config = Config::default();
        config.base_paths.push("/".to_owned());
        let service = Service::new(engine, config).unwrap();
        let routes = Routes::new(Upstream {
            socket: Some(PathBuf::from("x")),
            own_paths: vec!["/health".to_owned(), "/__durastream/".to_owned()],
        });
        for (path, elsewhere) in [
            ("/health", true),
            ("/%68ealth", true),
            ("/healthy", false),
            ("/__durastream/page.js", true),
            ("/v1/stream/a", false),
            ("/v1/stream/__ds/subscriptions/x", true),
            ("/v1/stream/%5F_ds", true),
            ("/v1/stream/_a", false),
            ("/v1/stream/a//b", false),
            ("/v1/stream/%zz", false),
        ] {
            let found = routes.elsewhere(&service, "GET", path.as_bytes());
            assert_eq!(found.is_some(), elsewhere, "{path}");
        }
    }
}
