#[endless::main(readiness_path)]
async fn main() {}
