#[endless::main(connect_info = False)]
async fn main() {}
