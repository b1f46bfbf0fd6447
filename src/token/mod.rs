//! Access tokens over time. Knows nothing of OAuth, sockets or configuration.
mod error;
mod settings;
mod source;

pub use error::{TokenError, TokenErrorKind};
pub use settings::RefreshSettings;
pub use source::{Expires, FetchedToken, TokenSource, TokenType};
