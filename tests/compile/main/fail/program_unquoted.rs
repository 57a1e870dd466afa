#[endless::main(program = /srv/current/app)]
async fn main() {}
