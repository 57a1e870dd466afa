//! What `#[endless::main]` expands to: a process from its first line to its exit status.

use std::future::Future;
use std::io;
use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

use crate::config::{self, Config, Manner};
use crate::control;
use crate::error::{self, BoxError, Error, describe};
use crate::grammar::Flavor;
use crate::log;
use crate::process::Process;
use crate::server::{Server, Serving, finished};
use crate::service::{HttpService, IntoOutcome, IntoService};
use crate::supervisor;
#[cfg(feature = "_tls")]
use crate::tls::Tls;

/// The exit status for a configuration that cannot be used.
const UNUSABLE: u8 = 2;

/// An imperative main: it serves by itself.
pub fn run_main<M, F, Kind>(options: &[(&str, &str)], main: M) -> ExitCode
where
    M: FnOnce() -> F,
    F: Future<Output: IntoOutcome<Kind>>,
{
    live(options, Manner::Imperative, |_process| async { main().await.into_outcome() })
}

/// A declarative main: it builds the service, which is served where `listen` says.
pub fn serve_main<M, F, Kind>(options: &[(&str, &str)], main: M) -> ExitCode
where
    M: FnOnce() -> F,
    F: Future<Output: IntoService<Kind>>,
{
    live(options, Manner::Declarative, |process| async move {
        let service = tokio::select! {
            biased;
            // Stopped while main builds what will not be served any more.
            () = finished() => return Ok(()),
            service = main() => service.into_service()?,
        };
        let servers = servers(&process.config, &service)?;
        let servings: Vec<Serving> = servers.into_iter().map(Server::serve).collect();
        process.servers.complete();
        all(servings).await.map_err(Into::into)
    })
}

/// One for each address, all with the same certificate if there is one.
fn servers<S: HttpService>(config: &Config, service: &S) -> Result<Vec<Server<S>>, Error> {
    let servers = config.listen.iter().map(|address| Server::new(address.clone(), service.clone()));
    #[cfg(feature = "_tls")]
    if let Some((cert, key)) = config.tls_cert.as_ref().zip(config.tls_key.as_ref()) {
        let tls = Tls::from_pem_files(cert, key)?;
        return Ok(servers.map(|server| server.tls(tls.clone())).collect());
    }
    Ok(servers.collect())
}

/// Polls them together; the first failure is everybody's.
async fn all(servings: Vec<Serving>) -> Result<(), Error> {
    let mut tasks = tokio::task::JoinSet::new();
    for serving in servings {
        tasks.spawn(serving);
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("serving does not panic")?;
    }
    Ok(())
}

fn live<M, F>(options: &[(&str, &str)], manner: Manner, main: M) -> ExitCode
where
    M: FnOnce(&'static Process) -> F,
    F: Future<Output = Result<(), BoxError>>,
{
    let config = Config::from_attribute(options);
    // Before there is a thread or a runtime: a supervisor has neither.
    if !control::is_started_by_endless() {
        if let Some(status) = supervisor::resume().transpose() {
            return supervised(status);
        }
        match config.clone().overruled_by(config::environment(), manner) {
            Ok(config) if config.supervise => return supervised(supervisor::supervise(&config)),
            Ok(_) => {}
            Err(error) => return fail(&error, UNUSABLE),
        }
    }
    let process = match Process::configure(config, manner) {
        Ok(process) => process,
        Err(error) => return fail(&error, UNUSABLE),
    };
    let runtime = match runtime(&process.config) {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    process.hooks.run_on(runtime.handle().clone());
    match runtime.block_on(main(process)) {
        // Dropping the runtime waits for what still blocks a thread, and the hammer for nobody.
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            runtime.block_on(process.report_failure(error.to_string()));
            let status = fail(&*error, 1);
            runtime.shutdown_background();
            status
        }
    }
}

/// How a supervisor's process ends.
fn supervised(status: io::Result<u8>) -> ExitCode {
    match status {
        Ok(status) => ExitCode::from(status),
        Err(error) => fail(&Error::configuration(format!("cannot start: {}", describe(&error))), 1),
    }
}

fn runtime(config: &Config) -> io::Result<Runtime> {
    let mut builder = match config.flavor {
        Flavor::MultiThread => Builder::new_multi_thread(),
        Flavor::CurrentThread => Builder::new_current_thread(),
    };
    if let Some(threads) = config.worker_threads {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
}

fn fail(error: &(dyn std::error::Error + 'static), status: u8) -> ExitCode {
    log::flush();
    error::print(error);
    ExitCode::from(status)
}
