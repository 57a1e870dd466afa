//! What `main` may return, with `listen` and without.

use std::process::ExitCode;

mod nothing {
    #[endless::main]
    pub(crate) async fn main() {}
}

mod result {
    #[endless::main]
    pub(crate) async fn main() -> endless::Result<()> {
        Ok(())
    }
}

mod boxed_error {
    #[endless::main]
    pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

mod service {
    #[endless::main(listen = "127.0.0.1:4242")]
    pub(crate) async fn main() -> axum::Router {
        axum::Router::new()
    }
}

mod result_of_service {
    #[endless::main(listen = "127.0.0.1:4242")]
    pub(crate) async fn main() -> Result<axum::Router, std::io::Error> {
        Ok(axum::Router::new())
    }
}

mod alias {
    type Built = Result<axum::Router, std::io::Error>;

    #[endless::main(listen = "127.0.0.1:4242")]
    pub(crate) async fn main() -> Built {
        Ok(axum::Router::new())
    }
}

fn main() {
    let _: &[fn() -> ExitCode] = &[
        nothing::main,
        result::main,
        boxed_error::main,
        service::main,
        result_of_service::main,
        alias::main,
    ];
}
