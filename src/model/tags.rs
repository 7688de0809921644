//! Tags that a caller sends with an action.

/// An error for tags that are too many or too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTags {
    /// There are more than [`Tags::MAX_COUNT`] of one kind.
    #[error("{0} tags, at most {max}", max = Tags::MAX_COUNT)]
    TooMany(usize),
    /// The tag with this index is longer than [`Tags::MAX_CHARS`].
    #[error("tag {0} is longer than {max} characters", max = Tags::MAX_CHARS)]
    TooLong(usize),
}

/// System and user tags. They are recorded with the attempt and included in its events, but never
/// interpreted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    system: Vec<String>,
    user: Vec<String>,
}

impl Tags {
    /// Maximum number of tags of one kind.
    pub const MAX_COUNT: usize = 64;
    /// Maximum length of one tag, in characters.
    pub const MAX_CHARS: usize = 255;

    /// Creates tags from both lists.
    ///
    /// # Errors
    /// Returns [`InvalidTags`] if a list or one of its tags is too long.
    pub fn new(system: Vec<String>, user: Vec<String>) -> Result<Self, InvalidTags> {
        for list in [&system, &user] {
            if list.len() > Self::MAX_COUNT {
                return Err(InvalidTags::TooMany(list.len()));
            }
            if let Some(at) = list.iter().position(|tag| tag.chars().count() > Self::MAX_CHARS) {
                return Err(InvalidTags::TooLong(at));
            }
        }
        Ok(Self { system, user })
    }

    /// Returns the system tags, as given.
    pub fn system_tags(&self) -> &[String] {
        &self.system
    }

    /// Returns the user tags, as given.
    pub fn user_tags(&self) -> &[String] {
        &self.user
    }

    /// Returns true if there are no tags.
    pub fn is_empty(&self) -> bool {
        self.system.is_empty() && self.user.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_four_tags_of_255_characters_are_the_limit() {
        let tag = "é".repeat(255);
        assert!(Tags::new(vec![tag.clone(); 64], vec![]).is_ok());
        assert_eq!(Tags::new(vec![], vec![tag.clone(); 65]), Err(InvalidTags::TooMany(65)));
        let long = format!("{tag}x");
        assert_eq!(Tags::new(vec![tag, long], vec![]), Err(InvalidTags::TooLong(1)));
    }
}
