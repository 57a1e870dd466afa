//! What the attributes accept, and the one error with which they answer each fault.
//!
//! The programs in `pass` are run too; those that would serve exit instead of building a service. What is
//! refused is a test of its own: without a program to run, trybuild checks all its files in one build.

#[test]
fn accepted() {
    let cases = trybuild::TestCases::new();
    cases.pass("*/pass/*.rs");
}

#[test]
fn refused() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("*/fail/*.rs");
}
