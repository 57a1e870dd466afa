#[endless::main(listen = "127.0.0.1:4242")]
async fn main() -> Result<i32, std::io::Error> {
    Ok(0)
}
