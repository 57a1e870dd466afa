//! When a hook runs: `pre` and `post` of signals, or a word for a point of the process's life.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Error, Path, Result};

use crate::faults::all;
use crate::grammar::signal_name;
use crate::literal::Kind;
use crate::options::Setting;

pub(crate) enum Moment {
    /// Before or after the action of signals: each a variant of the runtime's `Moment` and one of `Signal`.
    Signals(Vec<(&'static str, &'static str)>),
    /// A point of the process's life: a variant of the runtime's `Moment`.
    Life(&'static str),
}

/// The words for the points of a process's life, and the runtime's variants.
const LIVES: [(&str, &str); 4] =
    [("before_begin", "BeforeBegin"), ("ready", "Ready"), ("drained", "Drained"), ("hammered", "Hammered")];

const NONE: &str = r#"expected a moment: `pre = "SIGHUP"`, `post = "SIGHUP"`, `before_begin`, `ready`, `drained` or `hammered`"#;

impl Moment {
    pub(crate) fn read(settings: &[Setting]) -> Result<Self> {
        let signals: Vec<_> = settings.iter().filter_map(phase).collect();
        let lives: Vec<_> = settings.iter().filter_map(life).collect();
        match (&signals[..], &lives[..]) {
            ([], []) => Err(Error::new(Span::call_site(), NONE)),
            ([], [(word, variant)]) => bare(word).map(|()| Self::Life(variant)),
            (_, [.., (word, _)]) => Err(word.fault("stands alone: expected it in its own hook")),
            (_, []) => {
                all(signals.into_iter().map(of_signals)).map(|moments| Self::Signals(moments.concat()))
            }
        }
    }

    /// Whether the hook may take an `&Address`, not an `&Event`.
    pub(crate) fn takes_address(&self) -> bool {
        matches!(self, Self::Life("BeforeBegin"))
    }

    /// Whether the runtime is past waiting for a future.
    pub(crate) fn is_too_late_to_wait(&self) -> bool {
        matches!(self, Self::Life("Hammered"))
    }

    /// The runtime's moments, separated by commas.
    pub(crate) fn expand(&self, library: &Path) -> TokenStream {
        match self {
            Self::Life(variant) => {
                let variant = format_ident!("{variant}");
                quote!(#library::__private::Moment::#variant)
            }
            Self::Signals(signals) => {
                let moments = signals.iter().map(|(phase, signal)| {
                    let (phase, signal) = (format_ident!("{phase}"), format_ident!("{signal}"));
                    quote!(#library::__private::Moment::#phase(#library::Signal::#signal))
                });
                quote!(#(#moments),*)
            }
        }
    }
}

fn phase(setting: &Setting) -> Option<(&Setting, &'static str)> {
    match setting.name.to_string().as_str() {
        "pre" => Some((setting, "Pre")),
        "post" => Some((setting, "Post")),
        _ => None,
    }
}

fn life(setting: &Setting) -> Option<(&Setting, &'static str)> {
    let found = LIVES.iter().find(|(word, _)| setting.name == word);
    found.map(|&(_, variant)| (setting, variant))
}

fn bare(word: &Setting) -> Result<()> {
    let Setting { name, equals, value } = word;
    match equals.is_none() && value.is_empty() {
        true => Ok(()),
        false => {
            Err(Error::new_spanned(quote!(#equals #value), format!("expected `{name}` without a value")))
        }
    }
}

fn of_signals((setting, phase): (&Setting, &'static str)) -> Result<Vec<(&'static str, &'static str)>> {
    let mut seen = Vec::new();
    Kind::Signals.read(setting, |text| {
        let signal = signal_name::parse(text).map_err(|refusal| refusal.to_string())?;
        if seen.contains(&signal) {
            return Err(format!("{} is given twice: expected it once", signal.name));
        }
        seen.push(signal);
        Ok((phase, signal.variant))
    })
}
