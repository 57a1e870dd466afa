macro_rules! program {
    ($address:literal, $grace:expr) => {
        #[endless::main(listen = $address, idle_grace = $grace)]
        async fn main() -> axum::Router {
            std::process::exit(0)
        }
    };
}

program!("127.0.0.1:4242", "1s");
