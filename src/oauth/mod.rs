//! How a token is obtained; implements [`TokenSource`](crate::token::TokenSource). The only user of `reqwest`.
mod settings;

pub use settings::{ClientAuth, OAuthSettings};
