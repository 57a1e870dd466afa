#[endless::main(port = 4242)]
async fn main() {}
