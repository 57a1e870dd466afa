#[endless::main(hammertime = "30s")]
async fn main() {}
