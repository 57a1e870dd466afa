#[endless::main(program = "")]
async fn main() {}
