//! The values of options, as literals; a wrong one is told what it was probably meant to be.

use std::fmt::Display;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::parse::Parser;
use syn::{Error, Expr, ExprLit, ExprUnary, Lit, Path, Result, UnOp};

use crate::faults::all;
use crate::grammar::{Form, Literal, signal_name};
use crate::options::Setting;

/// What an option wants to be given.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// What the environment can say too.
    Option(Form),
    /// One signal or several.
    Signals,
    /// A hook's place among others.
    Order,
    /// The path of the `endless` library.
    Library,
}

impl Kind {
    /// Reads the one value, or those of a list, by `parse`; what that refuses is an error at the literal.
    pub(crate) fn read<T, E: Display>(
        self,
        setting: &Setting,
        mut parse: impl FnMut(&str) -> std::result::Result<T, E>,
    ) -> Result<Vec<T>> {
        let texts = self.texts(setting)?;
        all(texts
            .into_iter()
            .map(|Text { text, place }| parse(&text).map_err(|refusal| Error::new_spanned(place, refusal))))
    }

    /// Reads a path, in quotes or not.
    pub(crate) fn path(self, setting: &Setting) -> Result<Path> {
        match self.value(setting)? {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => text.parse_with(Path::parse_mod_style),
            value => Path::parse_mod_style.parse2(value.into_token_stream()),
        }
        .map_err(|_| self.mistaken(setting))
    }

    fn texts(self, setting: &Setting) -> Result<Vec<Text>> {
        let value = self.value(setting)?;
        match (self.literal(), &value) {
            (Literal::Texts, Expr::Array(array)) if !array.elems.is_empty() => {
                all(array.elems.iter().map(|one| self.element(one)))
            }
            (Literal::Text | Literal::Texts, _) => one(string(&value), || self.mistaken(setting)),
            (Literal::Integer, _) => one(integer(&value), || self.mistaken(setting)),
            (Literal::Switch, _) => one(switch(&value), || self.mistaken(setting)),
        }
    }

    fn value(self, setting: &Setting) -> Result<Expr> {
        match (setting.equals, syn::parse2(setting.value.clone())) {
            (Some(_), Ok(value)) => Ok(ungrouped(value)),
            _ => Err(self.mistaken(setting)),
        }
    }

    fn element(self, one: &Expr) -> Result<Text> {
        string(one).ok_or_else(|| {
            let meant = self.meant(&one.to_token_stream());
            Error::new_spanned(one, format!("expected `{meant}`"))
        })
    }

    /// The error for a literal of another kind, at the value if there is one.
    fn mistaken(self, setting: &Setting) -> Error {
        let Setting { name, value, .. } = setting;
        let place = match value.is_empty() {
            true => name.to_token_stream(),
            false => value.clone(),
        };
        let meant = self.meant(value);
        Error::new_spanned(place, format!("expected `{name} = {meant}`"))
    }

    /// The literal that was probably meant: `30` may mean `"30s"`, `8080` `":8080"`, `ready` `"/ready"`,
    /// `"4"` `4` and `False` `false`.
    fn meant(self, given: &TokenStream) -> String {
        let text = given.to_string().replace([' ', '"'], "");
        match (self.guess(unlisted(&text)), self.literal()) {
            (Some(guess), Literal::Integer | Literal::Switch) => guess,
            (Some(guess), _) => format!("{guess:?}"),
            (None, _) => self.example().to_owned(),
        }
    }

    fn guess(self, text: &str) -> Option<String> {
        let same = text.to_owned();
        let guesses =
            [same, text.to_ascii_lowercase(), format!("{text}s"), format!(":{text}"), format!("/{text}")];
        guesses.into_iter().find(|guess| is_word(text) && self.accepts(guess))
    }

    fn literal(self) -> Literal {
        match self {
            Self::Option(form) => form.literal(),
            Self::Signals => Literal::Texts,
            Self::Order => Literal::Integer,
            Self::Library => Literal::Text,
        }
    }

    fn accepts(self, text: &str) -> bool {
        match self {
            Self::Option(form) => form.parse(text).is_ok(),
            Self::Signals => signal_name::parse(text).is_ok(),
            Self::Order => text.parse::<i32>().is_ok(),
            Self::Library => false,
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Option(form) => form.example(),
            Self::Signals => r#""SIGHUP""#,
            Self::Order => "10",
            Self::Library => r#""::endless""#,
        }
    }
}

/// A literal's content, as the environment would spell it.
struct Text {
    text: String,
    place: TokenStream,
}

fn one(text: Option<Text>, mistaken: impl FnOnce() -> Error) -> Result<Vec<Text>> {
    text.map(|text| vec![text]).ok_or_else(mistaken)
}

fn string(value: &Expr) -> Option<Text> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(string), .. }) => {
            Some(Text { text: string.value(), place: string.to_token_stream() })
        }
        _ => None,
    }
}

fn switch(value: &Expr) -> Option<Text> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Bool(switch), .. }) => {
            Some(Text { text: switch.value.to_string(), place: switch.to_token_stream() })
        }
        _ => None,
    }
}

fn integer(value: &Expr) -> Option<Text> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) if number.suffix().is_empty() => {
            Some(Text { text: number.base10_digits().to_owned(), place: number.to_token_stream() })
        }
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => integer(expr)
            .map(|Text { text, .. }| Text { text: format!("-{text}"), place: value.to_token_stream() }),
        _ => None,
    }
}

/// `["/run/app.pid"]` for an option that takes one.
fn unlisted(text: &str) -> &str {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text)
}

/// No call, list or other expression, which some forms would accept as a text.
fn is_word(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/.:_-[]%".contains(&byte);
    !text.is_empty() && text.bytes().all(is_plain)
}

/// A `macro_rules` variable wraps its value in an invisible group.
fn ungrouped(value: Expr) -> Expr {
    match value {
        Expr::Group(group) => ungrouped(*group.expr),
        value => value,
    }
}
