//! What a person is told of a program that wants to go where it cannot: each thing once, and not without end.

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;

use crate::sync::lock;

/// How many different sentences are said.
const MOST: usize = 32;

/// Says sentences.
pub(super) struct Remarks {
    say: Box<dyn Fn(&str) + Send + Sync>,
    said: Mutex<HashSet<String>>,
}

impl Remarks {
    pub(super) fn new(say: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { say: Box::new(say), said: Mutex::default() }
    }

    /// Says this, unless it has been said.
    pub(super) fn once(&self, sentence: String) {
        let mut said = lock(&self.said);
        if said.len() > MOST || said.contains(&sentence) {
            return;
        }
        if said.len() == MOST {
            (self.say)("the command wants to go to further places that are not told any more");
        } else {
            (self.say)(&sentence);
        }
        said.insert(sentence);
    }
}

impl fmt::Debug for Remarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remarks").field("said", &self.said).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn each_thing_is_said_once_and_the_last_word_is_that_there_are_more() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let remarks = Remarks::new(move |sentence| lock(&hears).push(sentence.to_owned()));
        for number in 0..100 {
            remarks.once(format!("{number}"));
            remarks.once("0".to_owned());
        }
        let heard = lock(&heard);
        assert_eq!((heard.len(), heard[0].as_str(), heard[31].as_str()), (33, "0", "31"));
        assert!(heard[32].contains("further places"), "{}", heard[32]);
    }
}
