mod program {
    #[endless::main]
    pub(crate) async fn run() {}
}

fn main() -> std::process::ExitCode {
    let _run: fn() -> std::process::ExitCode = program::run;
    std::process::ExitCode::SUCCESS
}
