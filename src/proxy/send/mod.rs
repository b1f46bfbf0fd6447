//! Out to the upstream: once; again where it has not processed the request; and once again where the token was refused.

mod authorized;
pub(super) mod challenge;
mod exchange;
mod grpc;
mod retry;
mod sent_request;
mod trailers;
mod unauthorized;

pub(super) use authorized::send_authorized;
pub(super) use exchange::send_plain;
pub(super) use sent_request::UpstreamResponse;
