//! Access tokens over time. Knows nothing of OAuth, sockets or configuration.
//!
//! A [`TokenCache`] holds one token for one identity. The request path reads a snapshot (`cache`); everything that
//! replaces it, single flight, schedule and back-off, is in `refresh` and runs on the control runtime. What it asks is a
//! [`TokenSource`]; `request` makes one request of it, within its `budget`.

mod access_token;
mod budget;
mod cache;
mod clock;
mod control;
mod delay;
mod error;
mod expiry;
mod flight;
mod journal;
mod metrics;
mod requests;
mod settings;
mod skew;
mod source;
#[cfg(test)]
mod testing;
mod text;

pub use access_token::HeaderToken;
pub use budget::Budget;
pub(crate) use budget::Spent;
pub(crate) use cache::{Acquired, TokenStatus, held};
pub use cache::{CachePolicy, TokenCache};
pub use clock::Clock;
pub(crate) use control::{Control, Task, lock};
pub(crate) use delay::{back_off, jitter};
pub use error::{About, TokenError, TokenErrorKind};
pub(crate) use expiry::Expiry;
pub(crate) use flight::{Flight, FlightResult, Flights};
pub(crate) use journal::{TokenEvent, TokenEventKind};
pub use metrics::TokenMetrics;
pub(crate) use metrics::TokenRequestEnd;
pub(crate) use requests::TokenRequests;
pub use settings::RefreshSettings;
pub(crate) use skew::{FAR_OFF, clock_skew, is_notable, skew_in_words};
pub(crate) use source::Held;
pub use source::{Ask, Expires, FetchDetail, FetchedToken, Fetching, Shared, TokenOrigin, TokenSource, TokenType, Why};
#[cfg(test)]
pub(crate) use testing::explore_part;
pub(crate) use text::{TokenFault, judge_token};
