//! What stands between an attribute's parentheses: `NAME = LITERAL, …`.
//!
//! Values stay tokens until it is known what their name wants, so that each fault can show the spelling
//! that was meant.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Path, Result, Token, parse_quote_spanned};

use crate::faults::all;
use crate::grammar::nearest;
use crate::literal::Kind;

/// One `NAME = LITERAL`, or a `NAME` alone.
pub(crate) struct Setting {
    pub(crate) name: Ident,
    pub(crate) equals: Option<Token![=]>,
    pub(crate) value: TokenStream,
}

impl Parse for Setting {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.call(Ident::parse_any)?;
        let equals = input.parse()?;
        let mut value = TokenStream::new();
        while !input.is_empty() && !input.peek(Token![,]) {
            input.parse::<TokenTree>()?.to_tokens(&mut value);
        }
        Ok(Self { name, equals, value })
    }
}

/// Reads an attribute's arguments; a name that comes twice is refused, and what has no name is shown
/// `example`.
pub(crate) fn read(arguments: TokenStream, example: &str) -> Result<Vec<Setting>> {
    let settings = Punctuated::<Setting, Token![,]>::parse_terminated
        .parse2(arguments)
        .map_err(|error| Error::new(error.span(), format!("expected an option, as in `{example}`")))?;
    let settings: Vec<_> = settings.into_iter().collect();
    all(settings.iter().enumerate().map(|(index, setting)| {
        let before = &settings[..index];
        match before.iter().any(|other| other.name == setting.name) {
            true => Err(setting.fault("is given twice: expected it once")),
            false => Ok(()),
        }
    }))?;
    Ok(settings)
}

/// The path that `crate` gives to the `endless` library.
pub(crate) fn library(settings: &[Setting]) -> Result<Option<Path>> {
    let setting = settings.iter().find(|setting| setting.name == "crate");
    setting.map(|setting| Kind::Library.path(setting)).transpose()
}

/// The library's path, and its usual one at `place`, so that an error about generated code shows no more
/// than that.
pub(crate) fn library_at(place: Span, library: Option<&Path>) -> Path {
    library.cloned().unwrap_or_else(|| parse_quote_spanned!(place=> ::endless))
}

impl Setting {
    /// An error at the name.
    pub(crate) fn fault(&self, what: &str) -> Error {
        Error::new(self.name.span(), format!("`{}` {what}", self.name))
    }

    /// The error for a name that is none of `known`.
    pub(crate) fn unknown(&self, known: &[&str]) -> Error {
        let expected = match nearest(&self.name.to_string(), known.iter().copied()) {
            Some(name) => format!("`{name}`"),
            None => format!("one of `{}`", known.join("`, `")),
        };
        self.fault(&format!("is no option here: expected {expected}"))
    }
}
