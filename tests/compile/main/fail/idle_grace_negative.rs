#[endless::main(idle_grace = "-2s")]
async fn main() {}
