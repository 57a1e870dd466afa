//! The attributes of [`endless`](https://docs.rs/endless-server): [`macro@main`] and [`macro@hook`].
//!
//! Use them through the `endless` library, which re-exports both; their expansion names its paths.

use proc_macro::TokenStream;

mod entry;
mod faults;
mod function;
mod grammar;
mod hook;
mod literal;
mod moment;
mod options;
mod registration;

/// Runs an `async fn main` as a service that restarts without losing a request.
///
/// With `listen`, `main` builds the service and returns it, or a `Result` of it:
///
/// ```ignore
/// #[endless::main(listen = "127.0.0.1:4242")]
/// async fn main() -> axum::Router {
///     Router::new().route("/hello", get(|| async { "WORLD!" }))
/// }
/// ```
///
/// Without it, `main` serves by itself and returns nothing, or a `Result<(), E>`:
///
/// ```ignore
/// #[endless::main(hammer_time = "30s")]
/// async fn main() -> endless::Result<()> {
///     endless::serve("127.0.0.1:4242", app()).await
/// }
/// ```
///
/// # Options
///
/// | option | value | default |
/// |---|---|---|
/// | `listen` | `"127.0.0.1:4242"`, `"localhost:4242"`, `"[::]:80"`, `":8080"`, `"unix:/run/app.sock"`, `"systemd:NAME"`, or an array of them | none |
/// | `tls_cert` | a PEM file with the certificate for TLS, with `listen` and `tls_key`: `"cert.pem"` | none |
/// | `tls_key` | a PEM file with its private key: `"key.pem"` | none |
/// | `tls_reload` | a signal for hooks alone, upon which the files of all certificates are read again: `"SIGUSR1"` | none |
/// | `hammer_time` | how long a drain may take: `"30s"`, `"500ms"`, `"never"` | `"60s"` |
/// | `ready_timeout` | how long a successor may take to be ready | `"60s"` |
/// | `idle_grace` | how long a drain leaves idle connections open | `"2s"` |
/// | `lame_duck` | how long to go on accepting after SIGTERM, before the drain | `"0s"` |
/// | `readiness_path` | a path that is answered by itself: 200 while serving, 503 from a stop on: `"/ready"` | none |
/// | `read_timeout` | how long a whole request may take to arrive, from its first byte: `"30s"`, `"never"` | `"never"` |
/// | `write_timeout` | how long a whole response may take to be written, from the end of the request's head | `"never"` |
/// | `header_timeout` | how long a request's head may take to arrive, from its first byte | `"30s"` |
/// | `idle_timeout` | how long a connection may idle, before its first request or between two | `"120s"` |
/// | `handshake_timeout` | how long a TLS handshake may take | `"10s"` |
/// | `max_header_bytes` | how long a request's head may be, in bytes; a longer one is answered with 431 | `1048576` |
/// | `max_connections` | how many connections each server has at a time; more wait in the kernel's queue | none |
/// | `backlog` | how many connections may wait in the kernel's queue of each server | `4096` |
/// | `connect_info` | whether each request carries `ConnectInfo` in its extensions | `false` |
/// | `pid_file` | a file that holds the PID to signal from ready on: `"/run/app.pid"` | none |
/// | `program` | what to start as successor: `"/srv/current/app"` | what this process was started as |
/// | `supervise` | whether a small process keeps the PID that was started, and starts all generations | `true` |
/// | `respawn` | how often it replaces one that dies by itself, before it gives up: `"5 in 10s"`, `"never"` | `"5 in 10s"` |
/// | `flavor` | tokio's: `"multi_thread"` or `"current_thread"` | `"multi_thread"` |
/// | `worker_threads` | tokio's: an integer of at least 1 | all cores |
/// | `crate` | the path of the `endless` library: `"::endless"` | `"::endless"` |
///
/// Each but `crate` has an environment variable that wins over it: `ENDLESS_` and the name in upper case.
///
/// # Expansion
///
/// A `fn main() -> ExitCode` around the function as it was written, which it hands to the runtime.
/// Documentation and `cfg` attributes move to the outer function, others stay where they are.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    entry::expand(arguments.into(), item.into()).into()
}

/// Runs a function before or after the action of a signal, or at a point of the process's life.
///
/// ```ignore
/// #[endless::hook(pre = "SIGHUP")]
/// async fn check_config() -> Result<(), ConfigError> {
///     Config::load().await.map(drop)       // an `Err` calls the restart off
/// }
///
/// #[endless::hook(post = ["SIGINT", "SIGTERM"], order = 10)]
/// fn report(event: &endless::Event) {
///     println!("stopped: {:?}", event.outcome());
/// }
///
/// #[endless::hook(before_begin)]
/// fn note(address: &endless::Address) {
///     println!("serving on {address}");
/// }
/// ```
///
/// # When
///
/// | moment | when | argument |
/// |---|---|---|
/// | `pre = "SIGHUP"` | before the signal's action | none or `&Event` |
/// | `post = "SIGHUP"` | when the action has its outcome | none or `&Event` |
/// | `before_begin` | for each server, before it accepts | none or `&Address` |
/// | `ready` | when the process is ready | none or `&Event` |
/// | `drained` | when nothing is in flight any more | none or `&Event` |
/// | `hammered` | when the hammer has fallen; not `async` | none or `&Event` |
///
/// `pre` and `post` go together and take a list: `pre = ["SIGINT", "SIGTERM"]`. Signals: SIGHUP, SIGUSR1,
/// SIGUSR2, SIGINT, SIGTERM, SIGTSTP, SIGQUIT, SIGWINCH, SIGALRM, SIGIO and SIGCONT, with or without `SIG`,
/// in any case.
///
/// # Options
///
/// | option | value | default |
/// |---|---|---|
/// | `order` | an integer; lower ones run first, equal ones in the order of declaration | `0` |
/// | `timeout` | how long it may run, as `"10s"`; for a hook that is not `async`, when to report that it runs long | `"30s"` |
/// | `crate` | the path of the `endless` library | `"::endless"` |
///
/// A hook returns nothing or a `Result<(), E>` whose `E` can be displayed.
#[proc_macro_attribute]
pub fn hook(arguments: TokenStream, item: TokenStream) -> TokenStream {
    hook::expand(arguments.into(), item.into()).into()
}

#[cfg(test)]
mod tests {
    use super::grammar::OPTIONS;

    #[test]
    fn the_documentation_has_each_option_and_its_default() {
        for row in OPTIONS {
            let start = format!("/// | `{}` |", row.name);
            let line = include_str!("lib.rs").lines().find(|line| line.starts_with(&start));
            let default = line.expect(row.name).trim_end_matches(" |").rsplit("| ").next();
            if let Some(expected) = row.default {
                assert_eq!(default.map(|text| text.replace(['`', '"'], "")).as_deref(), Some(expected));
            }
        }
    }
}
