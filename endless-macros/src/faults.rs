//! Several faults at once: the user sees all of them in one build.

use syn::{Error, Result};

/// Both values, or the faults of both.
pub(crate) fn both<A, B>(first: Result<A>, second: Result<B>) -> Result<(A, B)> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (Err(fault), Ok(_)) | (Ok(_), Err(fault)) => Err(fault),
        (Err(fault), Err(other)) => Err(joined(fault, other)),
    }
}

/// All values, or the faults of all.
pub(crate) fn all<T>(results: impl IntoIterator<Item = Result<T>>) -> Result<Vec<T>> {
    let mut values = Ok(Vec::new());
    for result in results {
        values = both(values, result).map(|(mut values, value)| {
            values.push(value);
            values
        });
    }
    values
}

fn joined(mut fault: Error, other: Error) -> Error {
    fault.combine(other);
    fault
}
