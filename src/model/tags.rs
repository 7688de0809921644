//! The tags a caller sends with an action.

/// The tags are too many or too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTags {
    /// More than [`Tags::MAX_COUNT`] of one kind.
    #[error("{0} tags, at most {max}", max = Tags::MAX_COUNT)]
    TooMany(usize),
    /// One is longer than [`Tags::MAX_CHARS`]; its index.
    #[error("tag {0} is longer than {max} characters", max = Tags::MAX_CHARS)]
    TooLong(usize),
}

/// System and user tags: recorded with the attempt and carried by its events, never interpreted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    system: Vec<String>,
    user: Vec<String>,
}

impl Tags {
    /// Most tags of one kind.
    pub const MAX_COUNT: usize = 64;
    /// Most characters of one tag.
    pub const MAX_CHARS: usize = 255;

    /// Takes both lists.
    ///
    /// # Errors
    /// [`InvalidTags`] when a list or one of its tags is too long.
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

    /// The system tags, as given.
    pub fn system_tags(&self) -> &[String] {
        &self.system
    }

    /// The user tags, as given.
    pub fn user_tags(&self) -> &[String] {
        &self.user
    }

    /// Whether there are none at all.
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
