#[endless::main(max_header_bytes = 0)]
async fn main() {}
