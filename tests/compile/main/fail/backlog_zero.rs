#[endless::main(backlog = 0)]
async fn main() {}
