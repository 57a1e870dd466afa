#[endless::main(readiness_path = "health")]
async fn main() {}
