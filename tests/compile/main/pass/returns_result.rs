#[endless::main]
async fn main() -> endless::Result<()> {
    Ok(())
}
