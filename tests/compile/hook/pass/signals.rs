#[endless::hook(pre = [
    "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGINT", "SIGTERM", "SIGTSTP",
    "SIGQUIT", "SIGWINCH", "SIGALRM", "SIGIO", "SIGCONT",
])]
fn canonical() {}

#[endless::hook(post = ["HUP", "usr1", "sigusr2", "Int"])]
fn other_spellings() {}

fn main() {}
