//! Hooks are collected by the linker: nothing leads to them from `main`, and still they run, also where all
//! that can be left out is left out. Those of a library that the program does not name do not.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use support::{App, Line, Mark, PATIENCE, example, get, shipped};

const OF_THE_PROGRAM: [&str; 2] = ["module_plain", "in_the_root"];
const OF_ALL: [&str; 5] = ["library_first", "library_plain", "module_plain", "in_the_root", "library_last"];

#[tokio::test(flavor = "multi_thread")]
async fn with_link_time_optimisation_and_without_symbols_all_run_in_their_order() {
    let program = shipped("with_library");
    assert!(is_stripped(&program));
    runs_in_every_generation(&program, &OF_ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_of_a_library_run_if_the_program_names_it() {
    runs_in_every_generation(&example("test_with_library"), &OF_ALL).await;
}

/// The documented case: a dependency, and not linked.
#[tokio::test(flavor = "multi_thread")]
async fn those_of_a_library_that_the_program_does_not_name_are_left_out() {
    runs_in_every_generation(&example("test_without_library"), &OF_THE_PROGRAM).await;
}

/// SIGUSR1 runs exactly these, in the first generation and in its successor; the points of a life have
/// theirs.
async fn runs_in_every_generation(program: &Path, hooks: &[&str]) {
    let app = App::start(Command::new(program));
    let mut begin = Mark::START;
    for _ in 0..2 {
        ran_after(&app, begin, "before_begin").await;
        ran_after(&app, begin, "ready").await;
        assert_eq!(run_by_sigusr1(&app).await, hooks);
        assert_eq!(get(app.address().await, "/").await.text(), "WORLD!");
        begin = app.mark();
        app.restart().await;
        ran_after(&app, begin, "drained").await;
    }
    app.stop().await;
}

/// Up to the one after the signal, with which it is done.
async fn run_by_sigusr1(app: &App) -> Vec<String> {
    let mark = app.mark();
    app.signal(app.serving_pid(), Signal::SIGUSR1);
    ran_after(app, mark, "after").await;
    let lines = app.lines().into_iter().filter(|line| line.after() > mark);
    let mut hooks: Vec<_> = lines.filter_map(|line| hook_of(&line).map(str::to_owned)).collect();
    assert_eq!(hooks.pop().as_deref(), Some("after"));
    hooks
}

/// Waits until this hook has run, after `mark`.
async fn ran_after(app: &App, mark: Mark, hook: &str) {
    app.wait_for(mark, |line| hook_of(line) == Some(hook), PATIENCE).await;
}

fn hook_of(line: &Line) -> Option<&str> {
    line.text.strip_prefix("INFO app: ordered hook=")
}

/// Whether its table of symbols is gone; the sections' names tell.
fn is_stripped(program: &Path) -> bool {
    let bytes = fs::read(program).expect("it was just built");
    !bytes.windows(8).any(|name| name == b".symtab\0")
}
