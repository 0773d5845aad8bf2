//! One connection of HAProxy.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use spoacme_haproxy::spop::{Cause, Next, Session, Status};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::responder::Lookup;
use crate::server::Service;

/// Serves one connection until it ends: one read, all frames of it answered
/// in place, one write.
pub(crate) async fn serve<S>(mut stream: S, service: &Service, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = Connection::new(service);
    match connection.run(&mut stream, stop).await {
        Ok(End::Session(cause)) => note(service, cause),
        // HAProxy ends a health check, or an idle connection, with a reset.
        Ok(End::Peer) | Err(_) => {}
    }
}

struct Connection<'a> {
    service: &'a Service,
    session: Session,
    input: BytesMut,
    output: Vec<u8>,
    /// When the peer must have completed what it has begun.
    deadline: Instant,
}

enum End {
    /// The session was ended, by one side or the other.
    Session(Cause),
    /// The peer has gone.
    Peer,
}

impl<'a> Connection<'a> {
    fn new(service: &'a Service) -> Self {
        Self {
            service,
            session: Session::new(spoacme_haproxy::spop::Limits::default()),
            input: BytesMut::new(),
            output: Vec::new(),
            deadline: Instant::now() + service.limits.hello_timeout,
        }
    }

    async fn run<S>(&mut self, stream: &mut S, stop: &CancellationToken) -> io::Result<End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            if let Some(cause) = self.answer(stream).await? {
                stream.shutdown().await?;
                return Ok(End::Session(cause));
            }
            match self.read(stream, stop).await {
                Read::Some => {}
                Read::End => return Ok(End::Peer),
                Read::Late => self.session.disconnect(Status::TIMEOUT, &mut self.output),
                Read::Stop => self.session.disconnect(Status::NORMAL, &mut self.output),
            }
        }
    }

    /// Answers every whole frame of the input. Says why, if the session is
    /// over.
    async fn answer<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<Option<Cause>> {
        loop {
            let Service {
                table,
                counters,
                limits,
                ..
            } = self.service;
            let mut lookup = Lookup {
                table,
                counters,
                now: std::time::Instant::now(),
            };
            let received = self
                .session
                .receive(&self.input, &mut self.output, &mut lookup);
            self.input.advance(received.consumed);
            if received.consumed > 0 {
                self.deadline = Instant::now() + limits.frame_timeout;
            }
            if !self.output.is_empty() {
                timeout(limits.write_timeout, stream.write_all(&self.output)).await??;
                self.output.clear();
            }
            if received.next == Next::Close {
                return Ok(received.cause);
            }
            if !received.output_full {
                return Ok(None);
            }
        }
    }

    /// Reads once, within the time that is due: for HELLO, for a frame that
    /// has begun, or between frames. When the agent stops, what HAProxy has
    /// sent already is read first.
    async fn read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        stop: &CancellationToken,
    ) -> Read {
        let room = self.session.buffer_size().saturating_sub(self.input.len());
        self.input.reserve(room);
        let is_between_frames = self.session.is_established() && self.input.is_empty();
        let deadline = match (is_between_frames, stop.is_cancelled()) {
            (true, true) => Instant::now() + DRAIN_SILENCE,
            (true, false) => Instant::now() + self.service.limits.idle_timeout,
            (false, _) => self.deadline,
        };
        let was_stopped = stop.is_cancelled();
        let read = timeout_at(deadline, stream.read_buf(&mut self.input));
        let outcome = tokio::select! {
            biased;
            outcome = read => outcome,
            () = stop.cancelled(), if !was_stopped => return Read::again(),
        };
        match outcome {
            Ok(Ok(0) | Err(_)) => Read::End,
            Ok(Ok(_)) => {
                if is_between_frames {
                    self.deadline = Instant::now() + self.service.limits.frame_timeout;
                }
                Read::Some
            }
            Err(_) if was_stopped => Read::Stop,
            Err(_) => Read::Late,
        }
    }
}

enum Read {
    /// Something, or a reason to look again.
    Some,
    /// The end of the stream.
    End,
    /// Nothing in time.
    Late,
    /// Nothing more, and the agent stops.
    Stop,
}

impl Read {
    /// The loop comes around with `stop` cancelled.
    fn again() -> Self {
        Self::Some
    }
}

/// HAProxy has nothing more under way when it was silent that long.
const DRAIN_SILENCE: Duration = Duration::from_millis(100);

fn note(service: &Service, cause: Cause) {
    match cause {
        Cause::HealthCheck => service.counters.health_checks.increment(),
        Cause::Error(error) => {
            service.counters.protocol_errors.increment();
            debug!(%error, "connection ended: the peer broke the protocol");
        }
        Cause::Disconnected(status) => debug!(?status, "HAProxy disconnected"),
        Cause::Left(status) => debug!(?status, "disconnected"),
    }
}
