//! Starting and stopping the native listener.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use durastream_protocol::Service;
use parking_lot::Mutex;

use crate::Limits;
use crate::blocking;
use crate::desk::{Counts, Desk};
use crate::eventloop::{Acceptor, EventLoop};
use crate::mailbox::Mailbox;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

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
    /// The system gave no thread, epoll or eventfd.
    #[error("cannot start the listener's threads: {0}")]
    System(#[from] io::Error),
}

/// A listener that serves until it is stopped or dropped.
pub struct Listener {
    service: Service,
    address: SocketAddr,
    counts: Arc<Counts>,
    loops: Vec<Arc<Mailbox>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Listener {
    /// Binds and serves `service`; port 0 takes a free one.
    pub fn start(
        service: Service,
        host: &str,
        port: u16,
        limits: Limits,
    ) -> Result<Self, StartError> {
        let socket = bind(host, port).map_err(|source| StartError::Bind {
            host: host.to_owned(),
            port,
            source,
        })?;
        let address = socket.local_addr()?;
        let blocking = blocking::start()?;
        let limits = Arc::new(limits);
        let counts = Arc::new(Counts::default());
        let loops = (0..limits.loops.max(1))
            .map(|_| Mailbox::open().map(Arc::new))
            .collect::<io::Result<Vec<_>>>()?;
        let mut acceptor = Some(Acceptor {
            socket,
            loops: loops.clone(),
            next: 0,
            paused: None,
        });
        // Before the threads: if one cannot be started, dropping this stops the others.
        let listener = Self {
            service: service.clone(),
            address,
            counts: Arc::clone(&counts),
            loops: loops.clone(),
            threads: Mutex::default(),
        };
        for mailbox in loops {
            let desk = Desk::new(
                service.clone(),
                Arc::clone(&limits),
                Arc::clone(&counts),
                mailbox,
                blocking.clone(),
                address.to_string(),
            );
            let event_loop = EventLoop::new(desk, acceptor.take())?;
            let thread = thread::Builder::new()
                .name("durastream-http".to_owned())
                .spawn(move || event_loop.run())?;
            listener.threads.lock().push(thread);
        }
        Ok(listener)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.counts
            .connections
            .load(std::sync::atomic::Ordering::Relaxed)
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

fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut addresses = (host, port).to_socket_addrs()?;
    let address = addresses
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))?;
    let socket = TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    // Listening again only makes the queue longer.
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}
