//! Threads beside the loops, for what is not on the fast path: HTTP/2, TLS handshakes, and requests
//! that go to another listener. Each runs a tokio runtime of its own.

mod fields;
mod flow;
pub(crate) mod forward;
mod http2;
mod settling;
mod stream;
pub(crate) mod tls;
pub(crate) mod upstream;
mod wakes;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use durastream_protocol::Service;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use crate::Limits;
use crate::asked::Sampler;
use crate::loops::desk::{Counts, Share};
use crate::loops::mailbox::Mailbox;
use crate::routes::Routes;
use crate::socket::Plain;
use crate::tally::Tally;

/// Threads that may block, for cold reads of HTTP/2 clients.
const BLOCKING_THREADS: usize = 4;

/// What a loop asks of its side thread.
pub(crate) enum Order {
    /// A fresh connection that begins with a TLS handshake.
    Handshake(Plain, Share),
    /// A connection that speaks HTTP/2, and what was read of it.
    Http2(Plain, Vec<u8>, Share),
    /// A request for the other listener.
    Forward(Box<forward::Job>),
    /// Finish until then.
    Stop(Instant),
}

/// What the tasks of one side thread share.
pub(crate) struct Room {
    pub(crate) service: Service,
    pub(crate) limits: Arc<Limits>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) sampler: Sampler,
    pub(crate) routes: Arc<Routes>,
    pub(crate) tls: Option<Arc<tls::Certificate>>,
    /// The loop that HTTP/1.1 over TLS is handed to.
    pub(crate) mailbox: Arc<Mailbox>,
    /// Host and port of the listening socket, for clients that send no authority.
    pub(crate) local: String,
    wakes: wakes::Wakes,
    fields: RefCell<fields::Fields>,
    /// Once the listener stops: until when what is in flight may go on.
    stopping: watch::Receiver<Option<Instant>>,
}

impl Room {
    /// What makes a room, in the thread that it is for.
    #[expect(
        clippy::too_many_arguments,
        reason = "one for each thing that tasks share"
    )]
    pub(crate) fn furnish(
        service: Service,
        limits: Arc<Limits>,
        counts: Arc<Counts>,
        tally: Arc<Tally>,
        routes: Arc<Routes>,
        tls: Option<Arc<tls::Certificate>>,
        mailbox: Arc<Mailbox>,
        local: String,
    ) -> impl FnOnce(watch::Receiver<Option<Instant>>) -> Self + Send {
        move |stopping| Self {
            sampler: Sampler::new(&limits),
            service,
            limits,
            counts,
            tally,
            routes,
            tls,
            mailbox,
            local,
            wakes: wakes::Wakes::default(),
            fields: RefCell::default(),
            stopping,
        }
    }
}

/// Starts a side thread. It ends at the time that `Order::Stop` gives, or when all is done behind it.
pub(crate) fn start(
    furnish: impl FnOnce(watch::Receiver<Option<Instant>>) -> Room + Send + 'static,
) -> io::Result<(mpsc::UnboundedSender<Order>, JoinHandle<()>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("durastream-cold")
        .build()?;
    let (sender, orders) = mpsc::unbounded_channel();
    let thread = thread::Builder::new()
        .name("durastream-side".to_owned())
        .spawn(move || {
            let (stop, stopping) = watch::channel(None);
            let room = Rc::new(furnish(stopping));
            LocalSet::new().block_on(&runtime, serve(room, orders, stop));
            // Not waiting for a cold read that hangs.
            runtime.shutdown_background();
        })?;
    Ok((sender, thread))
}

async fn serve(
    room: Rc<Room>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    stop: watch::Sender<Option<Instant>>,
) {
    let mut tasks = JoinSet::new();
    let pump = tokio::task::spawn_local({
        let room = Rc::clone(&room);
        async move { room.wakes.pump(room.service.engine()).await }
    });
    let mut until: Option<Instant> = None;
    loop {
        let deadline = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            order = orders.recv() => match order {
                None => break,
                Some(Order::Stop(at)) => {
                    until = Some(until.map_or(at, |known| known.min(at)));
                    stop.send_replace(until);
                    if tasks.is_empty() {
                        break;
                    }
                }
                Some(Order::Handshake(plain, counted)) => {
                    tasks.spawn_local(tls::accept(Rc::clone(&room), plain, counted));
                }
                Some(Order::Http2(plain, read, counted)) => {
                    tasks.spawn_local(http2::serve_plain(Rc::clone(&room), plain, read, counted));
                }
                Some(Order::Forward(job)) => {
                    tasks.spawn_local(forward::relay(*job));
                }
            },
            ended = tasks.join_next(), if !tasks.is_empty() => {
                if let Some(Err(error)) = ended && error.is_panic() {
                    tracing::error!("a connection's task panicked");
                }
                if until.is_some() && tasks.is_empty() {
                    break;
                }
            }
            () = deadline => break,
        }
    }
    pump.abort();
}
