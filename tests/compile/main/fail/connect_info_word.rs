#[endless::main(connect_info = yes)]
async fn main() {}
