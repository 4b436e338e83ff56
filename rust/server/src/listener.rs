//! Starting and stopping the native listener.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use durastream_protocol::Service;
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use crate::loops::acceptor::{Acceptor, Listening};
use crate::loops::blocking;
use crate::loops::desk::{Counts, Desk};
use crate::loops::eventloop::EventLoop;
use crate::loops::mailbox::Mailbox;
use crate::routes::{Routes, Upstream};
use crate::side::tls::{Certificate, TlsError, TlsFiles};
use crate::side::{self, Order};
use crate::tally::{ListenerStats, Tally};
use crate::{Limits, side::Room};

/// Where to listen.
#[derive(Debug, Clone, Default)]
pub struct Address {
    /// Host name or address.
    pub host: String,
    /// Port; 0 takes a free one.
    pub port: u16,
    /// A Unix socket beside it, without TLS.
    pub unix: Option<PathBuf>,
    /// Serves TLS on the port.
    pub tls: Option<TlsFiles>,
}

/// The listener cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {host} port {port}: {source}")]
    Bind {
        /// As given.
        host: String,
        /// As given.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The Unix socket cannot be listened on.
    #[error("cannot listen on {path}: {source}")]
    Unix {
        /// As given.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate cannot be served.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system gave no thread, epoll or eventfd.
    #[error("cannot start the listener's threads: {0}")]
    System(#[from] io::Error),
}

/// A listener that serves until it is stopped or dropped.
pub struct Listener {
    service: Service,
    address: SocketAddr,
    counts: Arc<Counts>,
    certificate: Option<Arc<Certificate>>,
    loops: Vec<Arc<Mailbox>>,
    sides: Mutex<Vec<UnboundedSender<Order>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Two for each loop: its own, and that of the thread beside it.
    tallies: Vec<[Arc<Tally>; 2]>,
}

impl Listener {
    /// Binds and serves `service`; what is no operation of a stream goes to `upstream`.
    pub fn start(
        service: Service,
        at: &Address,
        upstream: Upstream,
        limits: Limits,
    ) -> Result<Self, StartError> {
        let certificate = at
            .tls
            .clone()
            .map(Certificate::load)
            .transpose()?
            .map(Arc::new);
        let (sockets, address) = bind(at)?;
        let limits = Arc::new(limits);
        let loops = (0..limits.loops.max(1))
            .map(|_| Mailbox::open().map(Arc::new))
            .collect::<io::Result<Vec<_>>>()?;
        let tallies = loops.iter().map(|_| Default::default()).collect();
        // Before the threads: if one cannot be started, dropping this stops the others.
        let listener = Self {
            service,
            address,
            counts: Arc::default(),
            certificate,
            loops,
            sides: Mutex::default(),
            threads: Mutex::default(),
            tallies,
        };
        let acceptor = Acceptor::new(sockets, listener.loops.clone());
        listener.spawn(acceptor, &limits, &Arc::new(Routes::new(upstream)))?;
        Ok(listener)
    }

    fn spawn(
        &self,
        acceptor: Acceptor,
        limits: &Arc<Limits>,
        routes: &Arc<Routes>,
    ) -> Result<(), StartError> {
        let blocking = blocking::start()?;
        let mut acceptor = Some(acceptor);
        for (mailbox, tallies) in self.loops.iter().zip(&self.tallies) {
            let [own, beside] = tallies;
            let local = self.address.to_string();
            let room = Room::furnish(
                self.service.clone(),
                Arc::clone(limits),
                Arc::clone(&self.counts),
                Arc::clone(beside),
                Arc::clone(routes),
                self.certificate.clone(),
                Arc::clone(mailbox),
                local.clone(),
            );
            let (side, thread) = side::start(room)?;
            self.sides.lock().push(side.clone());
            self.threads.lock().push(thread);
            let desk = Desk::new(
                self.service.clone(),
                Arc::clone(limits),
                Arc::clone(&self.counts),
                Arc::clone(own),
                Arc::clone(routes),
                Arc::clone(mailbox),
                blocking.clone(),
                side,
                local,
            );
            let event_loop = EventLoop::new(desk, acceptor.take())?;
            let thread = thread::Builder::new()
                .name("durastream-http".to_owned())
                .spawn(move || event_loop.run())?;
            self.threads.lock().push(thread);
        }
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Counts now.
    pub fn stats(&self) -> ListenerStats {
        let counts = &self.counts;
        let tallies = self.tallies.iter().flatten().map(|tally| &**tally);
        ListenerStats {
            connections: counts.connections.load(Ordering::Relaxed) as u64,
            upload_bytes: counts.uploads.load(Ordering::Relaxed) as u64,
            ..ListenerStats::of(tallies)
        }
    }

    /// Reads the certificate again, for connections to come. On an error it goes on with what it has.
    pub fn reload_certificate(&self) -> Result<(), TlsError> {
        self.certificate
            .as_ref()
            .map_or(Ok(()), |certificate| certificate.reload())
    }

    /// Accepts nothing more, ends live reads, finishes what is in flight within `grace`, closes
    /// everything and returns. A second call, from another thread, can only shorten the time.
    pub fn stop(&self, grace: Duration) {
        self.service.shut_down();
        let until = Instant::now() + grace;
        for mailbox in &self.loops {
            mailbox.put(|letters| {
                letters.stop = Some(letters.stop.map_or(until, |known| known.min(until)));
            });
        }
        // What the loops hand aside from now on is refused by time alone.
        for side in self.sides.lock().iter() {
            // One that has ended has nothing left to do.
            let _ = side.send(Order::Stop(until));
        }
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a loop of the listener panicked");
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

fn bind(at: &Address) -> Result<(Vec<Listening>, SocketAddr), StartError> {
    let tcp = Listening::tcp(&at.host, at.port, at.tls.is_some());
    let tcp = tcp.map_err(|source| StartError::Bind {
        host: at.host.clone(),
        port: at.port,
        source,
    })?;
    let address = tcp.address()?;
    let mut sockets = vec![tcp];
    if let Some(path) = &at.unix {
        let unix = Listening::unix(path).map_err(|source| StartError::Unix {
            path: path.display().to_string(),
            source,
        })?;
        sockets.push(unix);
    }
    Ok((sockets, address))
}
