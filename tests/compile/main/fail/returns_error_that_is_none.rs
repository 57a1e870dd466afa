struct Failure;

#[endless::main]
async fn main() -> Result<(), Failure> {
    Err(Failure)
}
