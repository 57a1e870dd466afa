#[endless::main]
async fn main(arguments: Vec<String>, more: u8) {
    drop((arguments, more));
}
