#[endless::main]
async fn main() {}
