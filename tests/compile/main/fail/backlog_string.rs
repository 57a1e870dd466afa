#[endless::main(backlog = "4096")]
async fn main() {}
