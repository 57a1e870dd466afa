//! `#[endless::main]`: a synchronous `main` around the user's, which it hands to the runtime.

use std::mem;

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Attribute, Error, Path, Result, Visibility, parse_quote};

use crate::faults::{all, both};
use crate::function::Function;
use crate::grammar::{OPTIONS, find};
use crate::literal::Kind;
use crate::options::{self, Setting};

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = match Function::read(item.clone(), "`async fn main()`") {
        Ok(function) => function,
        Err(fault) => return [item, fault.into_compile_error()].into_iter().collect(),
    };
    match both(check(&function), Entry::read(arguments)) {
        Ok(((), entry)) => entry.expand(function),
        Err(fault) => fallback(function, &fault),
    }
}

fn check(function: &Function) -> Result<()> {
    let signature = &function.signature;
    let name = &signature.ident;
    if signature.asyncness.is_none() {
        let expected = format!("expected `async fn {name}()`");
        Err(Error::new_spanned(signature.fn_token, expected))
    } else if !signature.inputs.is_empty() {
        let expected = format!("expected no arguments: `async fn {name}()`");
        Err(Error::new_spanned(&signature.inputs, expected))
    } else {
        function.without_generics()
    }
}

/// What the arguments say.
struct Entry {
    library: Option<Path>,
    /// Each option's name and the text that means its value in the environment too.
    settings: Vec<(String, String)>,
}

impl Entry {
    fn read(arguments: TokenStream) -> Result<Self> {
        let settings = options::read(arguments, r#"listen = "127.0.0.1:4242""#)?;
        let library = options::library(&settings);
        let options = settings.iter().filter(|setting| setting.name != "crate");
        let tls = check_tls(&settings, cfg!(feature = "tls"));
        let ((library, settings), ()) = both(both(library, all(options.map(option))), tls)?;
        Ok(Self { library, settings })
    }

    fn expand(self, function: Function) -> TokenStream {
        let Self { library, settings } = self;
        let (names, texts): (Vec<_>, Vec<_>) = settings.into_iter().unzip();
        let serves = names.iter().any(|name| name == "listen");
        let at = function.returns();
        let library = options::library_at(at, library.as_ref());
        let run = Ident::new(if serves { "serve_main" } else { "run_main" }, at);
        let inner = function.name_at(at);
        let call = quote_spanned!(at=> #library::__private::#run(&[#((#names, #texts)),*], #inner));
        within(function, quote!(-> ::std::process::ExitCode), call)
    }
}

/// An option's name and the canonical text of its value.
fn option(setting: &Setting) -> Result<(String, String)> {
    let name = setting.name.to_string();
    let row = find(&name).ok_or_else(|| setting.unknown(&known()))?;
    let values = Kind::Option(row.form).read(setting, |text| row.form.parse(text))?;
    let texts: Vec<_> = values.iter().map(ToString::to_string).collect();
    Ok((name, texts.join(",")))
}

/// What only all options together can tell of TLS; `is_built` is whether the library speaks it.
fn check_tls(settings: &[Setting], is_built: bool) -> Result<()> {
    let find = |name| settings.iter().find(|setting| setting.name == name);
    let any = settings.iter().find(|setting| setting.name.to_string().starts_with("tls_"));
    match (any, find("tls_cert"), find("tls_key")) {
        (Some(any), _, _) if !is_built => {
            Err(any.fault("needs TLS: expected the feature `tls` or `tls-ring` of `endless-server`"))
        }
        (_, Some(cert), None) => {
            Err(cert.fault("is no use alone: expected `tls_key = \"/path/to/file\"` too"))
        }
        (_, None, Some(key)) => {
            Err(key.fault("is no use alone: expected `tls_cert = \"/path/to/file\"` too"))
        }
        (_, Some(cert), _) if find("listen").is_none() => {
            Err(cert.fault("is for what `listen` serves: expected that, or `endless::serve_tls` in the body"))
        }
        _ => Ok(()),
    }
}

fn known() -> Vec<&'static str> {
    OPTIONS.iter().map(|row| row.name).chain(["crate"]).collect()
}

/// The user's function stays as it was written, inside one of its name that returns `output` and ends with
/// `call`.
fn within(mut function: Function, output: TokenStream, call: TokenStream) -> TokenStream {
    let name = function.signature.ident.clone();
    let visibility = mem::replace(&mut function.visibility, Visibility::Inherited);
    let (outside, inside): (Vec<_>, _) = function.attributes.into_iter().partition(is_outer);
    function.attributes = inside;
    quote! {
        #(#outside)*
        #visibility fn #name() #output {
            #function
            #call
        }
    }
}

/// Documentation is the program's, and what is compiled out is compiled out whole; all else may be about
/// the body.
fn is_outer(attribute: &Attribute) -> bool {
    attribute.path().is_ident("doc") || attribute.path().is_ident("cfg")
}

/// After a fault, a `main` that compiles: the fault is the only error, and an editor still knows the body.
fn fallback(mut function: Function, fault: &Error) -> TokenStream {
    function.signature.asyncness.get_or_insert_with(Default::default);
    function.attributes.push(parse_quote!(#[allow(dead_code)]));
    let main = within(function, TokenStream::new(), TokenStream::new());
    let fault = fault.to_compile_error();
    quote!(#main #fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(arguments: TokenStream, item: TokenStream) -> String {
        expand(arguments, item).to_string()
    }

    #[test]
    fn with_listen_the_returned_service_is_served() {
        let arguments = quote!(listen = ["127.0.0.1:4242", ":80"], hammer_time = "1m");
        let item = quote! {
            /// The program.
            #[allow(unused)]
            pub async fn main() -> Router { body }
        };
        let expected = quote! {
            /// The program.
            pub fn main() -> ::std::process::ExitCode {
                #[allow(unused)]
                async fn main() -> Router { body }
                ::endless::__private::serve_main(
                    &[("listen", "127.0.0.1:4242,:80"), ("hammer_time", "60s")],
                    main
                )
            }
        };
        assert_eq!(expanded(arguments, item), expected.to_string());
    }

    #[test]
    fn without_listen_main_serves_by_itself() {
        let expected = quote! {
            fn main() -> ::std::process::ExitCode {
                async fn main() {}
                ::my::endless::__private::run_main(&[], main)
            }
        };
        let arguments = quote!(crate = "::my::endless");
        let item = quote!(
            async fn main() {}
        );
        assert_eq!(expanded(arguments, item), expected.to_string());
    }

    #[test]
    fn without_tls_its_options_say_what_they_need() {
        for option in
            [quote!(tls_cert = "cert.pem"), quote!(tls_key = "key.pem"), quote!(tls_reload = "usr1")]
        {
            let settings = options::read(option, "").expect("well-formed");
            let fault = check_tls(&settings, false).expect_err("refused").to_string();
            assert!(
                fault.ends_with(" needs TLS: expected the feature `tls` or `tls-ring` of `endless-server`")
            );
        }
        assert!(check_tls(&options::read(quote!(listen = ":80"), "").expect("well-formed"), false).is_ok());
    }

    #[test]
    fn after_a_fault_main_is_still_there_and_its_body_may_wait() {
        let expected = quote! {
            fn main() {
                #[allow(dead_code)]
                async fn main() { future.await }
            }
            ::core::compile_error! { "expected `async fn main()`" }
        };
        let item = quote!(
            fn main() {
                future.await
            }
        );
        assert_eq!(expanded(quote!(), item), expected.to_string());
    }
}
