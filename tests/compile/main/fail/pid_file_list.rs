#[endless::main(pid_file = ["/run/app.pid"])]
async fn main() {}
