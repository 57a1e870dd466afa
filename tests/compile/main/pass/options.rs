//! Each option by itself.

use std::process::ExitCode;

mod hammer_time {
    #[endless::main(hammer_time = "500ms")]
    pub(crate) async fn main() {}
}

mod hammer_time_never {
    #[endless::main(hammer_time = "never")]
    pub(crate) async fn main() {}
}

mod ready_timeout {
    #[endless::main(ready_timeout = "2m")]
    pub(crate) async fn main() {}
}

mod idle_grace {
    #[endless::main(idle_grace = "0s")]
    pub(crate) async fn main() {}
}

mod lame_duck {
    #[endless::main(lame_duck = "5s")]
    pub(crate) async fn main() {}
}

mod handshake_timeout {
    #[endless::main(handshake_timeout = "never")]
    pub(crate) async fn main() {}
}

mod tls_reload {
    #[endless::main(tls_reload = "quit")]
    pub(crate) async fn main() {}
}

mod readiness_path {
    #[endless::main(readiness_path = "/health/ready")]
    pub(crate) async fn main() {}
}

mod read_timeout {
    #[endless::main(read_timeout = "never")]
    pub(crate) async fn main() {}
}

mod write_timeout {
    #[endless::main(write_timeout = "1h")]
    pub(crate) async fn main() {}
}

mod header_timeout {
    #[endless::main(header_timeout = "500ms")]
    pub(crate) async fn main() {}
}

mod idle_timeout {
    #[endless::main(idle_timeout = "2m")]
    pub(crate) async fn main() {}
}

mod max_header_bytes {
    #[endless::main(max_header_bytes = 1)]
    pub(crate) async fn main() {}
}

mod max_connections {
    #[endless::main(max_connections = 10_000)]
    pub(crate) async fn main() {}
}

mod backlog {
    #[endless::main(backlog = 128)]
    pub(crate) async fn main() {}
}

mod connect_info {
    #[endless::main(connect_info = true)]
    pub(crate) async fn main() {}
}

mod no_connect_info {
    #[endless::main(connect_info = false)]
    pub(crate) async fn main() {}
}

mod pid_file {
    #[endless::main(pid_file = "/run/app.pid")]
    pub(crate) async fn main() {}
}

mod program {
    #[endless::main(program = "current/bin/app")]
    pub(crate) async fn main() {}
}

mod flavor {
    #[endless::main(flavor = "current_thread")]
    pub(crate) async fn main() {}
}

mod worker_threads {
    #[endless::main(worker_threads = 2)]
    pub(crate) async fn main() {}
}

mod crate_string {
    #[endless::main(crate = "::endless")]
    pub(crate) async fn main() {}
}

mod crate_path {
    #[endless::main(crate = ::endless)]
    pub(crate) async fn main() {}
}

mod listen {
    #[endless::main(listen = "127.0.0.1:4242")]
    pub(crate) async fn main() -> axum::Router {
        axum::Router::new()
    }
}

mod listen_list {
    #[endless::main(listen = [
        "127.0.0.1:4242",
        "localhost:4243",
        "[::1]:4244",
        ":4245",
        "unix:/tmp/app.sock",
        "systemd:http",
    ])]
    pub(crate) async fn main() -> axum::Router {
        axum::Router::new()
    }
}

fn main() {
    let _: &[fn() -> ExitCode] = &[
        hammer_time::main,
        hammer_time_never::main,
        ready_timeout::main,
        idle_grace::main,
        lame_duck::main,
        readiness_path::main,
        read_timeout::main,
        write_timeout::main,
        header_timeout::main,
        idle_timeout::main,
        handshake_timeout::main,
        tls_reload::main,
        max_header_bytes::main,
        max_connections::main,
        backlog::main,
        connect_info::main,
        no_connect_info::main,
        pid_file::main,
        program::main,
        flavor::main,
        worker_threads::main,
        crate_string::main,
        crate_path::main,
        listen::main,
        listen_list::main,
    ];
}
