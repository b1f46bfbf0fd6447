//! The mistakes that people make, and what they are told, word for word: tests/snapshots/mistakes. A message is right when a
//! person who knows no OAuth mends the fault at the first try; read a changed one as such a person.

mod commands;
mod file;
mod live;
mod requests;
mod scene;
mod secrets;
mod servers;
mod upstreams;
