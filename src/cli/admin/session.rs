//! One connection to an admin listener, and questions on it.

use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::answered::Answered;
use super::place::Place;
use crate::secret::Secret;

/// A status report of thousands of credentials is smaller.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// An open connection. It moves nothing by itself, and ends when it is dropped.
pub(super) struct Session {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Pin<Box<dyn Future<Output = hyper::Result<()>>>>>,
    host: String,
    authorization: Option<HeaderValue>,
}

impl Session {
    /// Connects.
    pub(super) async fn open(place: &Place, token: Option<&Secret>) -> Result<Self, String> {
        let authorization = token.map(authorization).transpose()?;
        match place {
            Place::Tcp(authority) => {
                let stream = TcpStream::connect(authority).await.map_err(|error| error.to_string())?;
                Self::over(stream, authority, authorization).await
            }
            #[cfg(unix)]
            Place::Unix(socket) => {
                let stream = tokio::net::UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
                Self::over(stream, "localhost", authorization).await
            }
            #[cfg(not(unix))]
            Place::Unix(_) => Err("this system has no unix sockets".to_owned()),
        }
    }

    async fn over<S>(stream: S, host: &str, authorization: Option<HeaderValue>) -> Result<Self, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| told(&error))?;
        Ok(Self { sender, connection: Some(Box::pin(connection)), host: host.to_owned(), authorization })
    }

    /// One question and its answer. An error is the end of the connection.
    pub(super) async fn ask(&mut self, method: Method, path: &str) -> Result<Answered, String> {
        self.send(method, path, Bytes::new()).await
    }

    /// The same with a body, which is JSON.
    pub(super) async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Answered, String> {
        let mut request = Request::builder().method(&method).uri(path).header(header::HOST, &self.host);
        if method == Method::POST {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let sender = &mut self.sender;
        let exchange = async move {
            sender.ready().await.map_err(|error| told(&error))?;
            let (head, body) = sender.send_request(request).await.map_err(|error| told(&error))?.into_parts();
            let body = Limited::new(body, MAX_BYTES).collect().await.map_err(|error| error.to_string())?;
            Ok(Answered { status: head.status, body: body.to_bytes() })
        };
        tokio::pin!(exchange);
        let Some(connection) = &mut self.connection else { return Err("the connection has ended".to_owned()) };
        let ended = tokio::select! {
            biased;
            answered = &mut exchange => return answered,
            ended = connection => ended,
        };
        self.connection = None;
        // What has been read before the end can still be taken.
        ended.map_err(|error| told(&error))?;
        exchange.await
    }
}

fn told(error: &hyper::Error) -> String {
    format!("it breaks off: {error}")
}

fn authorization(token: &Secret) -> Result<HeaderValue, String> {
    let value = HeaderValue::try_from(format!("Bearer {}", token.expose().trim()));
    let mut value = value.map_err(|_invalid| "the admin token has a character that no header can carry".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
