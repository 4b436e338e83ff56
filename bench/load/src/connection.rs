//! A keep-alive connection with one request in flight.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use rustix::event::epoll;
use rustix::net::RecvFlags;

use crate::Failure;
use crate::answer::{Answer, Parser};

pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    parser: Parser,
}

impl Connection {
    /// A blocking connection.
    pub(crate) fn open(address: SocketAddr) -> Result<Self, Failure> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            parser: Parser::default(),
        })
    }

    /// Many that do not block, watched for input under their numbers.
    pub(crate) fn many(
        address: SocketAddr,
        count: usize,
        epoll: &OwnedFd,
    ) -> Result<Vec<Self>, Failure> {
        let mut all = Vec::with_capacity(count);
        for number in 0..count {
            let this = Self::open(address)?;
            this.socket.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(epoll, &this.socket, data, epoll::EventFlags::IN)?;
            all.push(this);
        }
        Ok(all)
    }

    pub(crate) fn send(&mut self, request: &[u8]) -> Result<(), Failure> {
        self.parser.reset();
        Ok((&self.socket).write_all(request)?)
    }

    /// One read into the parser: how much it was, `None` when nothing has arrived.
    fn read(
        &mut self,
        scratch: &mut [u8],
        sink: &mut impl FnMut(&[u8]),
    ) -> Result<Option<usize>, Failure> {
        loop {
            match (&self.socket).read(scratch) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(got) => {
                    self.parser.take(&scratch[..got], sink)?;
                    return Ok(Some(got));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes what has arrived; true when the answer is complete. Hands body bytes to `sink`.
    pub(crate) fn receive(
        &mut self,
        scratch: &mut [u8],
        mut sink: impl FnMut(&[u8]),
    ) -> Result<bool, Failure> {
        while !self.parser.done() {
            match self.read(scratch, &mut sink)? {
                Some(got) if got == scratch.len() => {}
                _ => break,
            }
        }
        Ok(self.parser.done())
    }

    /// The same without a look at the body where its length is known: the kernel drops it uncopied.
    pub(crate) fn discard(&mut self, scratch: &mut [u8]) -> Result<bool, Failure> {
        while !self.parser.done() {
            let rest = usize::try_from(self.parser.known_rest()).unwrap_or(usize::MAX);
            let most = rest.min(scratch.len());
            if most == 0 {
                let small = scratch.len().min(16 << 10);
                if self.read(&mut scratch[..small], &mut |_| {})?.is_none() {
                    break;
                }
                continue;
            }
            match rustix::net::recv(&self.socket, &mut scratch[..most], RecvFlags::TRUNC) {
                Ok((_, 0)) => return Err("the server closed a connection".into()),
                Ok((_, got)) => self.parser.skip(got as u64),
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.parser.done())
    }

    /// One request and its answer, on a blocking connection.
    pub(crate) fn ask(
        &mut self,
        request: &[u8],
        sink: impl FnMut(&[u8]),
    ) -> Result<Answer, Failure> {
        let mut sink = sink;
        let mut scratch = vec![0; 256 << 10];
        self.send(request)?;
        while !self.receive(&mut scratch, &mut sink)? {}
        Ok(self.answer().clone())
    }

    pub(crate) fn answer(&self) -> &Answer {
        &self.parser.answer
    }
}
