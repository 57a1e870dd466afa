#[endless::main(program = ["/srv/current/app", "--quiet"])]
async fn main() {}
