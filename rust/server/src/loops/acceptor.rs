//! Accepting connections: the first loop does, and deals them to all loops in turn.
//!
//! Sockets of their own for the loops (`SO_REUSEPORT`) would have the kernel choose by hash: with few
//! connections one loop may get most of them, and what waits in the queue of a stopped loop is lost.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;

use super::mailbox::{Accepted, Mailbox};
use crate::socket::{Plain, Socket};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Connections accepted in one turn.
const ACCEPTS: usize = 64;
/// Pause after the system refused a connection for want of descriptors or memory.
const RETRY: Duration = Duration::from_millis(100);
/// Names of the sockets for epoll count down from here. No token of a connection is as large.
const FIRST: u64 = u64::MAX - 2;

/// A socket that is listened on.
#[derive(Debug)]
pub(crate) enum Listening {
    Tcp {
        socket: TcpListener,
        tls: bool,
    },
    /// The file goes when the listener does.
    Unix {
        socket: UnixListener,
        path: PathBuf,
    },
}

impl Listening {
    /// Listens on the first address of a host; port 0 takes a free one.
    pub(crate) fn tcp(host: &str, port: u16, tls: bool) -> io::Result<Self> {
        let address = (host, port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::new(ErrorKind::NotFound, "the host has no address"))?;
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        // Listening again only makes the queue longer.
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self::Tcp { socket, tls })
    }

    /// Listens on a Unix socket, in the place of one that nobody listens on any more.
    pub(crate) fn unix(path: &Path) -> io::Result<Self> {
        let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
        if is_socket
            && let Err(error) = UnixStream::connect(path)
            && error.kind() == ErrorKind::ConnectionRefused
        {
            fs::remove_file(path)?;
        }
        let socket = UnixListener::bind(path)?;
        socket.set_nonblocking(true)?;
        Ok(Self::Unix {
            socket,
            path: path.to_owned(),
        })
    }

    /// Where a TCP socket listens.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp { socket, .. } => socket.local_addr(),
            Self::Unix { .. } => Err(ErrorKind::Unsupported.into()),
        }
    }

    fn accept(&self) -> io::Result<Accepted> {
        let (plain, tls) = match self {
            Self::Tcp { socket, tls } => {
                let (stream, peer) = socket.accept()?;
                (Plain::tcp(stream, peer), *tls)
            }
            Self::Unix { socket, .. } => (Plain::Unix(socket.accept()?.0), false),
        };
        Ok(Accepted {
            socket: Socket::Plain(plain),
            counted: None,
            tls,
        })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Self::Unix { path, .. } = self {
            // It may have been removed already.
            let _ = fs::remove_file(path);
        }
    }
}

/// The sockets, and the loops that their connections go to.
pub(crate) struct Acceptor {
    sockets: Vec<Listening>,
    loops: Vec<Arc<Mailbox>>,
    next: usize,
    /// Not looked at before then.
    paused: Option<Instant>,
}

impl Acceptor {
    pub(crate) fn new(sockets: Vec<Listening>, loops: Vec<Arc<Mailbox>>) -> Self {
        Self {
            sockets,
            loops,
            next: 0,
            paused: None,
        }
    }

    /// Whether an event of this name is about one of the sockets.
    pub(crate) fn is_named(name: u64) -> bool {
        name > u64::MAX / 2
    }

    /// Has the sockets watched, or no longer.
    pub(crate) fn watch(&self, epoll: &OwnedFd, on: bool) -> io::Result<()> {
        for (socket, number) in self.sockets.iter().zip(0..) {
            let data = epoll::EventData::new_u64(FIRST - number);
            let flags = epoll::EventFlags::IN;
            match (socket, on) {
                (Listening::Tcp { socket, .. }, true) => epoll::add(epoll, socket, data, flags)?,
                (Listening::Tcp { socket, .. }, false) => epoll::delete(epoll, socket)?,
                (Listening::Unix { socket, .. }, true) => epoll::add(epoll, socket, data, flags)?,
                (Listening::Unix { socket, .. }, false) => epoll::delete(epoll, socket)?,
            }
        }
        Ok(())
    }

    /// When the sockets are to be looked at again.
    pub(crate) fn paused(&self) -> Option<Instant> {
        self.paused
    }

    /// Ends a pause that is over; whether it did.
    pub(crate) fn resume(&mut self, now: Instant) -> bool {
        let over = self.paused.is_some_and(|until| until <= now);
        if over {
            self.paused = None;
        }
        over
    }

    /// Accepts from the socket of this name; gives what is for the loop of `mine`. A pause may begin.
    pub(crate) fn accept(&mut self, name: u64, mine: &Arc<Mailbox>, now: Instant) -> Vec<Accepted> {
        let mut kept = Vec::new();
        let number = usize::try_from(FIRST.wrapping_sub(name)).unwrap_or(usize::MAX);
        let Some(socket) = self.sockets.get(number) else {
            return kept;
        };
        for _ in 0..ACCEPTS {
            match socket.accept() {
                Ok(accepted) => {
                    self.next = (self.next + 1) % self.loops.len().max(1);
                    match self.loops.get(self.next) {
                        Some(mailbox) if !Arc::ptr_eq(mailbox, mine) => {
                            mailbox.put(|letters| letters.accepted.push(accepted));
                        }
                        _ => kept.push(accepted),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    let scarce = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
                    if scarce.contains(&Errno::from_io_error(&error).unwrap_or(Errno::INTR)) {
                        tracing::warn!(%error, "cannot accept a connection");
                        self.paused = Some(now + RETRY);
                        break;
                    }
                    // Of a connection that was reset while it waited.
                }
            }
        }
        kept
    }
}
