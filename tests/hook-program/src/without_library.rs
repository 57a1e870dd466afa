//! The same program, which depends on the library and does not name it.

mod module;

#[endless::main(listen = "127.0.0.1:0")]
async fn main() -> impl endless::HttpService {
    module::service()
}

#[endless::hook(pre = "SIGUSR1")]
fn in_the_root() {
    module::say("in_the_root");
}
