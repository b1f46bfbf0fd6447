//! Text that came over the wire.

/// It draws nothing on the terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}
