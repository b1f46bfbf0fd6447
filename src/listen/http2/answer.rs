//! An answer's body on its way out over a stream.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use crate::coarse::{Deadline, Tick};

/// Why a body did not get out whole. Nobody is left to be told but the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stopped {
    #[error("the caller reset the stream: {0}")]
    Reset(Reason),
    #[error("the caller took nothing for too long")]
    Blocked,
    #[error("the answer broke off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("{0}")]
    Stream(#[from] h2::Error),
}

/// Sends all of a body, as fast as the caller takes it. One that takes nothing for as long as `patience` loses its stream: what
/// stands behind the body (a connection to an upstream) is needed by others. A body that breaks off resets the stream, so
/// that it cannot be taken for a whole one.
pub(super) async fn send<B>(mut stream: SendStream<Bytes>, body: B, patience: Duration) -> Result<(), Stopped>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let sent = send_frames(&mut stream, body, patience).await;
    match &sent {
        Err(Stopped::Body(_)) => stream.send_reset(Reason::INTERNAL_ERROR),
        Err(Stopped::Blocked) => stream.send_reset(Reason::CANCEL),
        Ok(()) | Err(Stopped::Reset(_) | Stopped::Stream(_)) => {}
    }
    sent
}

async fn send_frames<B>(stream: &mut SendStream<Bytes>, body: B, patience: Duration) -> Result<(), Stopped>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let mut body = pin!(body);
    loop {
        let frame = poll_fn(|cx| match poll_reset(stream, cx) {
            Poll::Ready(stopped) => Poll::Ready(Err(stopped)),
            Poll::Pending => body.as_mut().poll_frame(cx).map(Ok),
        });
        let frame = match frame.await? {
            Some(frame) => frame.map_err(|error| Stopped::Body(error.into()))?,
            None => return Ok(stream.send_data(Bytes::new(), true)?),
        };
        match frame.into_data() {
            Ok(data) => {
                let last = body.is_end_stream();
                send_piecewise(stream, data, last, patience).await?;
                if last {
                    return Ok(());
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return Ok(stream.send_trailers(trailers)?);
                }
            }
        }
    }
}

/// As much at a time as the caller has room for, so that each piece that gets out is a sign of life.
async fn send_piecewise(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    last: bool,
    patience: Duration,
) -> Result<(), Stopped> {
    while !data.is_empty() {
        // Only with the data in hand: room that is held for nothing is missing on the caller's other streams.
        stream.reserve_capacity(data.len());
        let mut deadline: Option<Deadline> = None;
        let room = poll_fn(|cx| {
            if stream.capacity() > 0 {
                return Poll::Ready(Ok(stream.capacity()));
            }
            if let Poll::Ready(stopped) = poll_reset(stream, cx) {
                return Poll::Ready(Err(stopped));
            }
            while let Poll::Ready(granted) = stream.poll_capacity(cx) {
                match granted {
                    Some(Ok(0)) => {}
                    Some(Ok(room)) => return Poll::Ready(Ok(room)),
                    Some(Err(error)) => return Poll::Ready(Err(error.into())),
                    None => return Poll::Ready(Err(Stopped::Reset(Reason::NO_ERROR))),
                }
            }
            let deadline = deadline.get_or_insert_with(|| Deadline::at(Tick::now().after(patience)));
            deadline.poll(cx).map(|()| Err(Stopped::Blocked))
        });
        let piece = data.split_to(data.len().min(room.await?));
        let ends = last && data.is_empty();
        stream.send_data(piece, ends)?;
        if ends {
            return Ok(());
        }
    }
    if last {
        stream.send_data(Bytes::new(), true)?;
    }
    Ok(())
}

fn poll_reset(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Stopped> {
    stream.poll_reset(cx).map(|reset| match reset {
        Ok(reason) => Stopped::Reset(reason),
        Err(error) => Stopped::Stream(error),
    })
}
