//! The option `program` names what succeeds a supervised program, and not what it is started as.

mod support;

use support::{Mark, Supervised, declarative};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_generation_is_the_program_that_was_started() {
    let mut command = declarative();
    command.env("ENDLESS_PROGRAM", "/no/such/program");
    let service = Supervised::start(command).await;
    let reason = service.hang_up().await.expect_err("there is none");
    assert!(reason.contains("/no/such/program"), "{reason}");
    service.wait_for_message(Mark::START, "restart called off").await;
    service.terminate().await;
}
