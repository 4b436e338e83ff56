//! The sockets of clients: TCP, Unix, and TLS over either.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use durastream_engine::storage::FilePart;
use rustix::fs::sendfile;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio_rustls::rustls::ServerConnection;

/// What the system may hold of answers to a client on this machine, such as a proxy. By itself it lets megabytes
/// gather, which leave the processor's cache before they are read; elsewhere they are what a distant client needs.
const NEAR_SEND_BUFFER: usize = 256 << 10;

/// A connected socket without encryption.
#[derive(Debug)]
pub(crate) enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Plain {
    pub(crate) fn tcp(stream: TcpStream, peer: SocketAddr) -> Self {
        if peer.ip().to_canonical().is_loopback() {
            // Without it answers are as right.
            let _ = set_socket_send_buffer_size(&stream, NEAR_SEND_BUFFER);
        }
        Self::Tcp(stream)
    }

    pub(crate) fn prepare(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                // Fails only for a connection that is gone already.
                let _ = stream.set_nodelay(true);
                Ok(())
            }
            Self::Unix(stream) => stream.set_nonblocking(true),
        }
    }

    /// Who is at the other end, for people.
    pub(crate) fn peer(&self) -> String {
        match self {
            Self::Tcp(stream) => stream
                .peer_addr()
                .map_or_else(|_| "-".to_owned(), |address| address.to_string()),
            Self::Unix(_) => "unix".to_owned(),
        }
    }

    /// The same as writing them; `more` follows at once and may share a packet with their end.
    fn write_slices(&self, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        let mut this = self;
        if !more {
            return this.write_vectored(slices);
        }
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        let mut nothing = SendAncillaryBuffer::default();
        Ok(sendmsg(self, slices, &mut nothing, flags)?)
    }

    /// Has the system send the first `most` bytes of a file.
    fn send_file(&self, part: &FilePart, most: usize) -> io::Result<usize> {
        let file = part.descriptor().ok_or(ErrorKind::Unsupported)?;
        match sendfile(self, file, Some(&mut part.offset()), most)? {
            0 if most > 0 => {
                let file = part.path().display();
                tracing::error!(%file, "a sealed file is shorter than it was");
                Err(ErrorKind::UnexpectedEof.into())
            }
            sent => Ok(sent),
        }
    }

    fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for &Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Plain::Tcp(stream) => (&mut &*stream).read(buffer),
            Plain::Unix(stream) => (&mut &*stream).read(buffer),
        }
    }
}

impl Write for &Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Plain::Tcp(stream) => (&mut &*stream).write(bytes),
            Plain::Unix(stream) => (&mut &*stream).write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // `send` is the shorter way through the system.
        if let [slice] = slices {
            return self.write(slice);
        }
        match self {
            Plain::Tcp(stream) => (&mut &*stream).write_vectored(slices),
            Plain::Unix(stream) => (&mut &*stream).write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connected socket as HTTP/1.1 reads and writes it; never blocks.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(Plain),
    /// Behind its handshake.
    Tls(Box<Tls>),
}

/// A connected socket with encryption.
#[derive(Debug)]
pub(crate) struct Tls {
    plain: Plain,
    session: ServerConnection,
}

impl Socket {
    pub(crate) fn tls(plain: Plain, session: ServerConnection) -> Self {
        Self::Tls(Box::new(Tls { plain, session }))
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    pub(crate) fn plain(&self) -> &Plain {
        match self {
            Self::Plain(plain) => plain,
            Self::Tls(tls) => &tls.plain,
        }
    }

    /// Whether a read shorter than its buffer says that nothing more is there.
    pub(crate) fn short_read_empties(&self) -> bool {
        !self.is_tls()
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => (&*plain).read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    /// Writes slices, behind which `more` follows at once or not.
    pub(crate) fn write_vectored(
        &mut self,
        slices: &[IoSlice<'_>],
        more: bool,
    ) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.write_slices(slices, more),
            Self::Tls(tls) => tls.write_vectored(slices),
        }
    }

    /// Whether [`Socket::send_file`] works.
    pub(crate) fn sends_files(&self) -> bool {
        !self.is_tls()
    }

    /// Has the system send the first `most` bytes of a file; `Unsupported` or `InvalidInput` where it cannot.
    pub(crate) fn send_file(&mut self, part: &FilePart, most: usize) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.send_file(part, most),
            Self::Tls(_) => Err(ErrorKind::Unsupported.into()),
        }
    }

    /// Writes what is encrypted already; whether nothing of it is left.
    pub(crate) fn drain(&mut self) -> io::Result<bool> {
        match self {
            Self::Plain(_) => Ok(true),
            Self::Tls(tls) => tls.drain(),
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        if let Self::Tls(tls) = self {
            tls.session.send_close_notify();
            tls.drain()?;
        }
        self.plain().shutdown_write()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.plain().as_fd()
    }
}

impl Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The end without close_notify.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            self.session.read_tls(&mut &self.plain)?;
            let processed = self.session.process_new_packets();
            // An alert, a ticket, the answer to a key update.
            self.drain()?;
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // First what was encrypted before: its buffer is bounded.
        let stuck = !self.drain()?;
        let taken = self.session.writer().write_vectored(slices)?;
        if taken == 0 && stuck {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.drain()?;
        Ok(taken)
    }

    fn drain(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut &self.plain) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        // So that its peer can tell an end from a cut. Whether it can be sent matters no more.
        self.session.send_close_notify();
        let _ = self.drain();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustix::net::sockopt::socket_send_buffer_size;

    use super::*;

    #[test]
    fn only_what_a_near_client_is_sent_may_not_pile_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let buffer = |peer: &str| {
            let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().unwrap();
            let before = socket_send_buffer_size(&stream).unwrap();
            let plain = Plain::tcp(stream, peer.parse().unwrap());
            drop(near);
            (before, socket_send_buffer_size(&plain).unwrap())
        };
        for peer in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            // The system doubles it for its own needs, and has a limit of its own (net.core.wmem_max).
            let (before, after) = buffer(peer);
            assert!(
                before != after && after <= 2 * NEAR_SEND_BUFFER,
                "{peer}: {before} {after}"
            );
        }
        for peer in ["192.0.2.1:1", "[2001:db8::1]:1"] {
            let (before, after) = buffer(peer);
            assert_eq!(before, after, "{peer}");
        }
    }
}
