#[endless::hook(hammered)]
async fn hook() {}

fn main() {}
