//! The table of options.
//!
//! A new option is a row here and a field in the runtime's `Config`; the attribute and the environment
//! follow by themselves.

use super::value::Form;

/// One option, as the attribute, the environment and the documentation know it.
#[derive(Debug)]
pub struct Row {
    /// As written in the attribute: `hammer_time`.
    pub name: &'static str,
    /// How its value is spelled.
    pub form: Form,
    /// What counts when nobody says anything, spelled as its form wants it.
    pub default: Option<&'static str>,
    /// One sentence for the documentation.
    pub about: &'static str,
}

/// Every option but `crate`, which only the attribute has.
pub const OPTIONS: &[Row] = &[
    Row {
        name: "listen",
        form: Form::Addresses,
        default: None,
        about: "Where to serve what `main` returns; without it `main` serves by itself.",
    },
    Row {
        name: "tls_cert",
        form: Form::FilePath,
        default: None,
        about: "A PEM file with the certificate for TLS, and those up to its root; with `listen` and `tls_key`.",
    },
    Row {
        name: "tls_key",
        form: Form::FilePath,
        default: None,
        about: "A PEM file with the certificate's private key.",
    },
    Row {
        name: "tls_reload",
        form: Form::Signal,
        default: None,
        about: "A signal upon which the files of all certificates are read again.",
    },
    Row {
        name: "hammer_time",
        form: Form::DurationOrNever,
        default: Some("60s"),
        about: "How long a drain may take before what still runs is ended, from the start of the drain.",
    },
    Row {
        name: "ready_timeout",
        form: Form::Duration,
        default: Some("60s"),
        about: "How long a successor may take to be ready.",
    },
    Row {
        name: "idle_grace",
        form: Form::Duration,
        default: Some("2s"),
        about: "How long a drain leaves idle connections open, so that a request on its way is answered.",
    },
    Row {
        name: "lame_duck",
        form: Form::Duration,
        default: Some("0s"),
        about: "How long to go on accepting after SIGTERM, before the drain.",
    },
    Row {
        name: "readiness_path",
        form: Form::UrlPath,
        default: None,
        about: "A path that is answered by itself: 200 while serving, 503 from a stop on.",
    },
    Row {
        name: "read_timeout",
        form: Form::TimeOut,
        default: Some("never"),
        about: "How long a whole request may take to arrive, from the first byte of its head.",
    },
    Row {
        name: "write_timeout",
        form: Form::TimeOut,
        default: Some("never"),
        about: "How long a whole response may take to be written, from the end of the request's head.",
    },
    Row {
        name: "header_timeout",
        form: Form::TimeOut,
        default: Some("30s"),
        about: "How long the head of a request may take to arrive, from its first byte.",
    },
    Row {
        name: "idle_timeout",
        form: Form::TimeOut,
        default: Some("120s"),
        about: "How long a connection may idle, before its first request or between two.",
    },
    Row {
        name: "handshake_timeout",
        form: Form::TimeOut,
        default: Some("10s"),
        about: "How long a TLS handshake may take.",
    },
    Row {
        name: "max_header_bytes",
        form: Form::Count,
        default: Some("1048576"),
        about: "How long the head of a request may be, in bytes; a longer one is answered with 431.",
    },
    Row {
        name: "max_connections",
        form: Form::Count,
        default: None,
        about: "How many connections each server has at a time; more wait in the kernel's queue.",
    },
    Row {
        name: "backlog",
        form: Form::Count,
        default: Some("4096"),
        about: "How many connections may wait in the kernel's queue of each server.",
    },
    Row {
        name: "connect_info",
        form: Form::Switch,
        default: Some("false"),
        about: "Whether each request carries `ConnectInfo` in its extensions.",
    },
    Row {
        name: "pid_file",
        form: Form::FilePath,
        default: None,
        about: "A file that holds the PID to signal from ready on, removed on stop.",
    },
    Row {
        name: "program",
        form: Form::FilePath,
        default: None,
        about: "What to start as successor; what this process was started as, if not said.",
    },
    Row {
        name: "supervise",
        form: Form::Switch,
        default: Some("true"),
        about: "Whether a small process keeps the PID that was started, and starts all generations.",
    },
    Row {
        name: "respawn",
        form: Form::Rate,
        default: Some("5 in 10s"),
        about: "How often the supervisor replaces a generation that ends by itself, before it gives up.",
    },
    Row {
        name: "flavor",
        form: Form::Flavor,
        default: Some("multi_thread"),
        about: "The kind of tokio runtime that `main` runs on.",
    },
    Row {
        name: "worker_threads",
        form: Form::Count,
        default: None,
        about: "How many threads the multi-thread runtime has; all cores if not said.",
    },
];

impl Row {
    /// The environment variable that wins over the attribute: `ENDLESS_HAMMER_TIME`.
    pub fn variable(&self) -> String {
        format!("ENDLESS_{}", self.name.to_ascii_uppercase())
    }

    /// Whether it is about what `listen` serves, and so means nothing without.
    pub fn is_of_listen(&self) -> bool {
        ["listen", "tls_cert", "tls_key"].contains(&self.name)
    }
}

/// The option of exactly this name.
pub fn find(name: &str) -> Option<&'static Row> {
    OPTIONS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_default_is_spelled_as_its_form_wants_it() {
        for row in OPTIONS {
            let Some(default) = row.default else { continue };
            let value = row.form.parse(default).expect(row.name);
            assert_eq!(value.to_string(), default, "{}", row.name);
        }
    }

    #[test]
    fn a_name_has_one_row() {
        for row in OPTIONS {
            let rows = OPTIONS.iter().filter(|other| other.name == row.name);
            assert_eq!(rows.count(), 1, "{}", row.name);
        }
        assert_eq!(find("listen").map(|row| row.form), Some(Form::Addresses));
        assert!(find("crate").is_none());
    }

    #[test]
    fn variables_are_upper_case() {
        assert_eq!(find("hammer_time").unwrap().variable(), "ENDLESS_HAMMER_TIME");
    }
}
