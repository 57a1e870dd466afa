#[endless::main]
async fn main<T>() {}
