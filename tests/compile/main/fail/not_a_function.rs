#[endless::main]
struct Main;

fn main() {}
