//! What the attributes accept, and the one error with which they answer each fault.
//!
//! The programs in `pass` are run too; those that would serve exit instead of building a service.

#[test]
fn attributes() {
    let cases = trybuild::TestCases::new();
    for attribute in ["main", "hook"] {
        cases.pass(format!("tests/compile/{attribute}/pass/*.rs"));
        cases.compile_fail(format!("tests/compile/{attribute}/fail/*.rs"));
    }
}
