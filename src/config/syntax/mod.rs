//! The text of a file, taken apart: places, tables, values, and what is wrong with them. Knows no key.

pub(super) mod document;
pub(super) mod duplicates;
pub(super) mod error;
pub(super) mod file;
pub(super) mod hosts;
pub(super) mod lines;
pub(super) mod mistakes;
pub(super) mod named;
pub(super) mod reader;
pub(super) mod section;
pub(super) mod tree;
pub(super) mod unclosed;
pub(super) mod userinfo;
pub(super) mod value;
pub(super) mod words;
pub(super) mod written;
