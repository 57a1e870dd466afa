//! For operators: restarts a service and waits for the outcome, shows its generations, stops it.

use std::process::ExitCode;

fn main() -> ExitCode {
    endless::__private::run_endlessctl()
}
