//! The function an attribute stands on.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Attribute, Error, Result, ReturnType, Signature, Visibility};

/// A function whose body nobody looks into, so that one an editor has half of still expands.
pub(crate) struct Function {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
    body: TokenStream,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        Ok(Self {
            attributes: input.call(Attribute::parse_outer)?,
            visibility: input.parse()?,
            signature: input.parse()?,
            body: input.parse()?,
        })
    }
}

impl Function {
    /// Reads an attribute's item, which has to be what `expected` says.
    pub(crate) fn read(item: TokenStream, expected: &str) -> Result<Self> {
        syn::parse2(item).map_err(|error| Error::new(error.span(), format!("expected {expected}")))
    }

    pub(crate) fn without_generics(&self) -> Result<()> {
        let generics = &self.signature.generics;
        let fault = |place: &dyn ToTokens| {
            let name = &self.signature.ident;
            let expected = format!("expected no generics: `fn {name}`");
            Err(Error::new_spanned(place.to_token_stream(), expected))
        };
        match &generics.where_clause {
            _ if generics.lt_token.is_some() => fault(generics),
            Some(clause) => fault(clause),
            None => Ok(()),
        }
    }

    /// Where an error about the returned value belongs: the return type, or the name if there is none.
    pub(crate) fn returns(&self) -> Span {
        match &self.signature.output {
            ReturnType::Type(_, kind) => generated_at(kind.span()),
            ReturnType::Default => generated_at(self.signature.ident.span()),
        }
    }

    /// The function's name, for generated code at another place.
    pub(crate) fn name_at(&self, place: Span) -> Ident {
        let mut name = self.signature.ident.clone();
        name.set_span(place);
        name
    }
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attributes, visibility, signature, body } = self;
        tokens.extend(quote!(#(#attributes)* #visibility #signature #body));
    }
}

/// A span that shows the user's code and yet is known as generated, so that no lint takes it for the user's.
pub(crate) fn generated_at(location: Span) -> Span {
    Span::call_site().located_at(location)
}
