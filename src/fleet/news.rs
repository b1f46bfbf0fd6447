//! What is said on the channel. It makes things faster and nothing else: who misses it asks.

use super::names::Tag;

/// `TAG GENERATION`, and `refused` behind it where a 401 was the cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) tag: Tag,
    /// That of the token that was put; 0 where there is none: a lease has ended.
    pub(crate) generation: u64,
    /// An upstream refuses the token before it: who holds that one adopts at once. Other news are for those who wait.
    pub(crate) after_unauthorized: bool,
}

impl News {
    /// Anybody who may write into the store may say anything here.
    pub(crate) fn read(message: &str) -> Option<Self> {
        let mut words = message.split(' ');
        let tag = Tag::read(words.next()?)?;
        let generation = words.next()?.parse().ok()?;
        let after_unauthorized = words.next() == Some("refused");
        Some(Self { tag, generation, after_unauthorized })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_a_place_a_number_and_perhaps_a_cause() {
        let tag = "abcdefghijklmnopqrstuv";
        let news =
            |generation, after_unauthorized| Some(News { tag: Tag::scripted(tag), generation, after_unauthorized });
        assert_eq!(News::read(&format!("{tag} 12")), news(12, false));
        assert_eq!(News::read(&format!("{tag} 13 refused")), news(13, true));
        assert_eq!(News::read(&format!("{tag} 13 later more")), news(13, false), "a newer release may say more");
        for nonsense in ["", tag, "short 1", &format!("{tag} x"), &format!("{tag} -1"), &format!("{tag}  1")] {
            assert_eq!(News::read(nonsense), None, "{nonsense}");
        }
    }
}
