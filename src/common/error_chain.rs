//! An error together with the errors that caused it.

use std::error::Error;
use std::fmt;

/// Displays an error and all of its causes in one line, outermost first, separated by colons.
#[derive(Clone, Copy, Debug)]
pub struct ErrorChain<'a>(pub &'a dyn Error);

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// Returns the error that caused all the others, which is the error itself if it has no source.
pub fn root_cause<'a>(error: &'a (dyn Error + 'a)) -> &'a (dyn Error + 'a) {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no route")]
    struct Inner;

    #[derive(Debug, thiserror::Error)]
    #[error("connect")]
    struct Middle(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("send")]
    struct Outer(#[source] Middle);

    #[test]
    fn a_chain_is_displayed_from_the_outside_to_the_root() {
        let error = Outer(Middle(Inner));
        assert_eq!(ErrorChain(&error).to_string(), "send: connect: no route");
        assert_eq!(ErrorChain(&Inner).to_string(), "no route");
        assert_eq!(root_cause(&error).to_string(), "no route");
        assert_eq!(root_cause(&Inner).to_string(), "no route");
    }
}
