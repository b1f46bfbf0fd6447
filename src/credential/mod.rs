//! What gets put on a request.
mod settings;

pub use settings::CredentialSettings;
