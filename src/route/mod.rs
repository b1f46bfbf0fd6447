//! Which requests get what.
pub mod pattern;
mod settings;

pub use settings::{AllowRule, CallerAuthorization, HttpScheme, OnTokenError, RetrySettings, RouteSettings};
