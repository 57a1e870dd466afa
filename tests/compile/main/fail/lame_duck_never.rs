#[endless::main(lame_duck = "never")]
async fn main() {}
