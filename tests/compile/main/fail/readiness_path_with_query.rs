#[endless::main(readiness_path = "/ready?now")]
async fn main() {}
