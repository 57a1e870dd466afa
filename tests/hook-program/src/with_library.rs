//! A program that names the library whose hooks it wants, and nothing else of it.

mod module;

use hook_library as _;

#[endless::main(listen = "127.0.0.1:0")]
async fn main() -> impl endless::HttpService {
    module::service()
}

#[endless::hook(pre = "SIGUSR1")]
fn in_the_root() {
    module::say("in_the_root");
}
