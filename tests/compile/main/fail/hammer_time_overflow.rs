#[endless::main(hammer_time = "18446744073709551616s")]
async fn main() {}
