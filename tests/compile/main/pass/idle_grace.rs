#[endless::main(idle_grace = "0s")]
async fn main() {}
