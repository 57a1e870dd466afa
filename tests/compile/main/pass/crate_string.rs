#[endless::main(crate = "::endless")]
async fn main() {}
