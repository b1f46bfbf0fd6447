//! Words in messages: the nearest to a misspelt one, and lists of them.

/// The candidate that a misspelt word is most likely meant to be, if one is near enough.
pub(crate) fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str> + Clone) -> Option<&'c str> {
    let word = word.to_lowercase().replace('-', "_");
    let letters = word.chars().count();
    candidates
        .clone()
        .map(|candidate| {
            let part =
                letters >= 4 && (candidate.contains(&word) || (candidate.len() >= 4 && word.contains(candidate)));
            let distance = strsim::damerau_levenshtein(&word, &candidate.to_lowercase().replace('-', "_"));
            (if part { distance.min(1) } else { distance }, candidate)
        })
        .filter(|(distance, _)| *distance <= (letters / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
        .or_else(|| of_other_programs(&word, candidates))
}

/// What other programs call it.
const ELSEWHERE: [(&str, &str); 14] = [
    ("url", "origin"),
    ("uri", "origin"),
    ("base_url", "origin"),
    ("host", "origin"),
    ("target", "origin"),
    ("server", "origin"),
    ("url", "token_endpoint"),
    ("token_url", "token_endpoint"),
    ("token_uri", "token_endpoint"),
    ("id", "client_id"),
    ("app_id", "client_id"),
    ("password", "client_secret"),
    ("listen", "address"),
    ("port", "address"),
];

fn of_other_programs<'c>(word: &str, mut candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    candidates.find(|candidate| ELSEWHERE.contains(&(word, *candidate)))
}

/// `a`, `b`, `c`
pub(crate) fn listed<T: AsRef<str>>(words: &[T]) -> String {
    words.iter().map(|word| format!("`{}`", word.as_ref())).collect::<Vec<_>>().join(", ")
}

/// A word from the file, fit for one line of a terminal.
pub(crate) fn shortened(word: &str) -> String {
    let clean: String = word.chars().filter(|letter| !letter.is_control()).take(48).collect();
    if clean.len() == word.len() { clean } else { format!("{clean}…") }
}

/// `"a"`, `"b"` or `"c"`
pub(crate) fn alternatives(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => listed(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_only_if_it_is_near() {
        let keys = ["scope", "client_id", "client_secret", "token_endpoint"];
        let suggestion = |word| nearest(word, keys.into_iter());
        assert_eq!(suggestion("scop"), Some("scope"));
        assert_eq!(suggestion("client-id"), Some("client_id"));
        assert_eq!(suggestion("secret"), Some("client_secret"));
        assert_eq!(suggestion("token_endpiont"), Some("token_endpoint"));
        assert_eq!(suggestion("token_url"), Some("token_endpoint"));
        assert_eq!(suggestion("id"), Some("client_id"));
        assert_eq!(suggestion("colour"), None);
        assert_eq!(suggestion("x"), None);
    }
}
