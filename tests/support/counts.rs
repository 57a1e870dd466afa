//! How often: a few times in every run of the tests, as often as was promised in `just full`.

/// `few`, or `all` where the variable `FULL` is set.
pub(crate) fn restarts(few: usize, all: usize) -> usize {
    if std::env::var_os("FULL").is_some() { all } else { few }
}
