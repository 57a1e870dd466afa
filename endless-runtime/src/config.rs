//! Settings of the process: from the attribute or from code, overruled by the environment.
//!
//! Which options there are and how they are spelled is [`crate::grammar::OPTIONS`]; here each one becomes
//! a field. To add an option: a row there, a field and a line in [`Config::set`] here, a setter if it makes
//! sense in code.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::grammar::{self, AddressText, Flavor, Form, OPTIONS, Row, Value};
use crate::handover::environment::{SUPERVISOR_VARIABLE, VARIABLE as HANDOVER_VARIABLE};
use crate::log::event;
use crate::signal::hook::Registration;
use crate::signal::{Hook, Phase, Signal, given};

const PREFIX: &str = "ENDLESS_";

/// Settings of the whole process, for programs without [`#[endless::main]`](https://docs.rs/endless-server).
///
/// Each setter takes the same value as the attribute's option of that name, and the environment variable
/// `ENDLESS_` with the upper-case name wins over it.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) listen: Vec<AddressText>,
    pub(crate) hammer_time: Option<Duration>,
    pub(crate) ready_timeout: Duration,
    pub(crate) idle_grace: Duration,
    pub(crate) lame_duck: Duration,
    pub(crate) readiness_path: Option<String>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) program: Option<PathBuf>,
    /// Whether the attribute's main is a supervisor's.
    pub(crate) supervise: bool,
    /// How often a generation that ends by itself is replaced, and within which time; `None` for never.
    pub(crate) respawn: Option<(usize, Duration)>,
    /// A certificate and its key, for what `listen` serves: both or neither.
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    /// Upon which the certificates are read again.
    pub(crate) tls_reload: Option<Signal>,
    pub(crate) server: ServerSettings,
    pub(crate) flavor: Flavor,
    pub(crate) worker_threads: Option<usize>,
    pub(crate) signals: bool,
    /// The options that the attribute or the environment has set.
    said: Vec<&'static str>,
    pub(crate) hooks: Vec<&'static Registration>,
}

/// What each server has of its own; these are what counts for one whose code does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerSettings {
    pub(crate) limits: Limits,
    pub(crate) max_connections: Option<usize>,
    pub(crate) backlog: u32,
    pub(crate) connect_info: bool,
}

/// What a client may cost: how long it is waited for, and how much it may say. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// A whole request, from the first byte of its head.
    pub(crate) read_timeout: Option<Duration>,
    /// A whole response, from the end of the request's head.
    pub(crate) write_timeout: Option<Duration>,
    /// A request's head, from its first byte.
    pub(crate) header_timeout: Option<Duration>,
    /// A connection without a request.
    pub(crate) idle_timeout: Option<Duration>,
    /// A TLS handshake, from accept on.
    pub(crate) handshake_timeout: Option<Duration>,
    /// A request's head.
    pub(crate) max_header_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Self {
            listen: Vec::new(),
            hammer_time: None,
            ready_timeout: Duration::ZERO,
            idle_grace: Duration::ZERO,
            lame_duck: Duration::ZERO,
            readiness_path: None,
            pid_file: None,
            program: None,
            supervise: false,
            respawn: None,
            tls_cert: None,
            tls_key: None,
            tls_reload: None,
            server: ServerSettings::default(),
            flavor: Flavor::MultiThread,
            worker_threads: None,
            signals: true,
            said: Vec::new(),
            hooks: Vec::new(),
        };
        for row in OPTIONS {
            if let Some(default) = row.default {
                config.set(row, row.form.parse(default).expect("a default is well-formed"));
            }
        }
        config
    }
}

/// Whether main says where to listen, or serves by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Declarative,
    Imperative,
}

impl Config {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a drain may take, from its start, before what still runs is ended; `None` for ever.
    pub fn hammer_time(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.hammer_time = time.into();
        self
    }

    /// How long a successor may take to be ready before it is ended and this process serves on.
    pub fn ready_timeout(mut self, time: Duration) -> Self {
        self.ready_timeout = time;
        self
    }

    /// How long a drain leaves idle connections open, so that a request on its way is answered.
    pub fn idle_grace(mut self, time: Duration) -> Self {
        self.idle_grace = time;
        self
    }

    /// How long to go on accepting after SIGTERM, with the readiness path answering 503, before the drain.
    pub fn lame_duck(mut self, time: Duration) -> Self {
        self.lame_duck = time;
        self
    }

    /// A path that endless answers itself on every server: 200 while serving, 503 from a stop on. It begins
    /// with a slash; a query of the request does not count.
    pub fn readiness_path(mut self, path: impl Into<Option<String>>) -> Self {
        self.readiness_path = path.into();
        self
    }

    /// A file that holds the PID to signal: written when the process begins to serve, removed when it stops
    /// if it still names this process.
    pub fn pid_file(mut self, path: impl Into<Option<PathBuf>>) -> Self {
        self.pid_file = path.into();
        self
    }

    /// What to start as successor, instead of what this process was started as.
    pub fn program(mut self, path: impl Into<Option<PathBuf>>) -> Self {
        self.program = path.into();
        self
    }

    /// A signal upon which the files of all certificates are read again; one that is for hooks alone, which run
    /// around it.
    #[cfg(feature = "_tls")]
    pub fn tls_reload(mut self, signal: impl Into<Option<Signal>>) -> Self {
        self.tls_reload = signal.into();
        self
    }

    /// Runs `hook` before or after what `signal` does, as `#[endless::hook]` would; after those of the
    /// attribute.
    pub fn hook<Shape>(mut self, phase: Phase, signal: Signal, hook: impl Hook<Shape>) -> Self {
        self.hooks.push(given::register(phase, signal, hook));
        self
    }

    /// Whether endless handles signals; `false` for tests and for programs that embed a server and call
    /// [`restart`](crate::restart) and [`shutdown`](crate::shutdown) themselves.
    pub fn signals(mut self, on: bool) -> Self {
        self.signals = on;
        self
    }

    /// The attribute's options, as the macro has checked them.
    pub(crate) fn from_attribute(options: &[(&str, &str)]) -> Self {
        let mut config = Self::default();
        for (name, text) in options {
            let row = grammar::find(name).expect("the macro knows the options");
            config.say(row, row.form.parse(text).expect("the macro has checked the value"));
        }
        config
    }

    /// Lets the environment win.
    ///
    /// # Errors
    ///
    /// A value that does not parse, or `ENDLESS_LISTEN` where main says itself where to listen; the message
    /// names the variable and the accepted form.
    pub(crate) fn overruled_by(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
        manner: Manner,
    ) -> Result<Self> {
        for (variable, text) in variables {
            if let Some(row) = row_of(&variable) {
                self.overrule(row, &text, manner)?;
            }
        }
        self.check_tls()?;
        Ok(self)
    }

    /// What only all together can tell.
    fn check_tls(&self) -> Result<()> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => return Err(Error::configuration("tls_cert is set without tls_key")),
            (None, Some(_)) => return Err(Error::configuration("tls_key is set without tls_cert")),
            _ => {}
        }
        let Some(signal) = self.tls_reload else { return Ok(()) };
        let checked = Form::Signal.parse(&signal.to_string());
        checked.map(drop).map_err(|refusal| Error::configuration(format!("tls_reload: {refusal}")))
    }

    fn overrule(&mut self, row: &Row, text: &str, manner: Manner) -> Result<()> {
        let variable = row.variable();
        if row.is_of_listen() && manner == Manner::Imperative {
            let what = if row.name == "listen" { "where it listens" } else { "how it speaks TLS" };
            return Err(Error::configuration(format!(
                "{variable} is set, but this program says in its code {what}"
            )));
        }
        if row.name.starts_with("tls_") && !cfg!(feature = "_tls") {
            return Err(Error::configuration(format!(
                "{variable} is set, but this program was built without TLS: expected the feature `tls` or \
                 `tls-ring` of endless-server"
            )));
        }
        let value =
            row.form.parse(text).map_err(|refusal| Error::configuration(format!("{variable}: {refusal}")))?;
        self.say(row, value);
        Ok(())
    }

    fn say(&mut self, row: &Row, value: Value) {
        self.said.push(row.name);
        self.set(row, value);
    }

    /// Whether the attribute or the environment has set this option.
    pub(crate) fn has_said(&self, name: &str) -> bool {
        self.said.contains(&name)
    }

    /// The only place that knows which field an option is.
    fn set(&mut self, row: &Row, value: Value) {
        let limits = &mut self.server.limits;
        match (row.name, value) {
            ("listen", Value::Addresses(addresses)) => self.listen = addresses,
            ("hammer_time", Value::Duration(time)) => self.hammer_time = time,
            ("ready_timeout", Value::Duration(Some(time))) => self.ready_timeout = time,
            ("idle_grace", Value::Duration(Some(time))) => self.idle_grace = time,
            ("lame_duck", Value::Duration(Some(time))) => self.lame_duck = time,
            ("readiness_path", Value::UrlPath(path)) => self.readiness_path = Some(path),
            ("pid_file", Value::FilePath(path)) => self.pid_file = Some(path),
            ("program", Value::FilePath(path)) => self.program = Some(path),
            ("supervise", Value::Switch(on)) => self.supervise = on,
            ("respawn", Value::Rate(rate)) => self.respawn = rate,
            ("tls_cert", Value::FilePath(path)) => self.tls_cert = Some(path),
            ("tls_key", Value::FilePath(path)) => self.tls_key = Some(path),
            ("tls_reload", Value::Signal(name)) => {
                self.tls_reload = Some(name.parse().expect("the grammar's signals are ours"));
            }
            ("read_timeout", Value::Duration(time)) => limits.read_timeout = time,
            ("write_timeout", Value::Duration(time)) => limits.write_timeout = time,
            ("header_timeout", Value::Duration(time)) => limits.header_timeout = time,
            ("idle_timeout", Value::Duration(time)) => limits.idle_timeout = time,
            ("handshake_timeout", Value::Duration(time)) => limits.handshake_timeout = time,
            ("max_header_bytes", Value::Count(count)) => limits.max_header_bytes = count,
            ("max_connections", Value::Count(count)) => self.server.max_connections = Some(count),
            ("backlog", Value::Count(count)) => {
                self.server.backlog = u32::try_from(count).unwrap_or(u32::MAX)
            }
            ("connect_info", Value::Switch(on)) => self.server.connect_info = on,
            ("flavor", Value::Flavor(flavor)) => self.flavor = flavor,
            ("worker_threads", Value::Count(count)) => self.worker_threads = Some(count),
            (name, value) => unreachable!("option {name} has no field for {value:?}"),
        }
    }
}

/// The option that this variable overrules.
fn row_of(variable: &str) -> Option<&'static Row> {
    let name = variable.strip_prefix(PREFIX)?;
    grammar::find(&name.to_ascii_lowercase()).filter(|row| row.variable() == variable)
}

/// Warns of what looks like a variable of ours and is none.
pub(crate) fn warn_of_unknown_variables() {
    let ours = environment().map(|(variable, _)| variable).filter(|variable| variable.starts_with(PREFIX));
    let internal = [HANDOVER_VARIABLE, SUPERVISOR_VARIABLE];
    ours.filter(|variable| !internal.contains(&variable.as_str()) && row_of(variable).is_none())
        .for_each(|variable| warn_of_unknown(&variable));
}

fn warn_of_unknown(variable: &str) {
    let known: Vec<String> = OPTIONS.iter().map(Row::variable).collect();
    match grammar::nearest(variable, known.iter().map(String::as_str)) {
        Some(near) => event!(WARN, "unknown environment variable", name = variable, nearest = near),
        None => event!(WARN, "unknown environment variable", name = variable),
    }
}

/// The environment as text. A name that is not is none of ours; a value of ours that is not will be refused
/// as whatever it looks like.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn the_environment_wins_over_the_attribute() {
        let config = Config::from_attribute(&[("hammer_time", "30s"), ("idle_grace", "1s")])
            .overruled_by(
                variables(&[("ENDLESS_HAMMER_TIME", "never"), ("PATH", "/bin")]),
                Manner::Imperative,
            )
            .expect("well-formed");
        assert_eq!(config.hammer_time, None);
        assert_eq!(config.idle_grace, Duration::from_secs(1));
        assert_eq!(config.ready_timeout, Duration::from_secs(60));
    }

    #[test]
    fn a_value_that_does_not_parse_names_its_variable() {
        let refused = Config::new()
            .overruled_by(variables(&[("ENDLESS_IDLE_GRACE", "soon")]), Manner::Imperative)
            .expect_err("no duration");
        assert!(refused.is_configuration());
        assert!(refused.to_string().starts_with("ENDLESS_IDLE_GRACE: \"soon\" is no duration"), "{refused}");
    }

    #[test]
    fn listen_counts_in_the_declarative_form_only() {
        let listen = variables(&[("ENDLESS_LISTEN", "127.0.0.1:80,[::1]:81")]);
        let declarative = Config::new().overruled_by(listen.clone(), Manner::Declarative).expect("accepted");
        assert_eq!(declarative.listen.len(), 2);
        let refused = Config::new().overruled_by(listen, Manner::Imperative).expect_err("refused");
        assert!(refused.to_string().starts_with("ENDLESS_LISTEN is set"), "{refused}");
    }
}
