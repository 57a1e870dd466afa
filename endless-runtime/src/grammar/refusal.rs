//! Why a text was not accepted.

use std::fmt;

/// A sentence that says what was got and shows what is accepted; it fits a compile error and a start-up
/// error alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    /// `"60 parsecs" is no duration: expected "60s" or "500ms"`.
    pub(super) fn expected(text: &str, noun: &str, accepted: &str) -> Self {
        Self(format!("{text:?} is no {noun}: expected {accepted}"))
    }

    pub(super) fn because(sentence: String) -> Self {
        Self(sentence)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}
