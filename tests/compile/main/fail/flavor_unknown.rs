#[endless::main(flavor = "vanilla")]
async fn main() {}
