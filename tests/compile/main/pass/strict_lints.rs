//! A crate that is strict with itself is not bothered by what the attributes expand to.
#![deny(warnings, missing_docs, unreachable_pub, unused_qualifications)]
#![forbid(unsafe_code)]

/// What the program does.
#[endless::main]
#[cfg(not(windows))]
#[allow(unused_variables)]
async fn main() {
    let unused = 0;
}

/// What the hook does.
#[endless::hook(ready)]
pub(crate) fn note() {}
