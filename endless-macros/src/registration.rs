//! A hook's entry in the registry, which the linker collects from all crates of the program.

use std::time::Duration;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Path};

use crate::function::{Function, generated_at};
use crate::hook::Hook;
use crate::options;

pub(crate) fn expand(hook: &Hook, function: &Function) -> TokenStream {
    let library = &options::library_at(Span::call_site(), hook.library.as_ref());
    let cfgs = function.attributes.iter().filter(|a| is_cfg(a));
    let moments = hook.moment.expand(library);
    let order = hook.order;
    let timeout = timeout(hook.timeout);
    let name = function.signature.ident.unraw().to_string();
    let place = place(library, function);
    let call = call(hook, function);
    quote! {
        #(#cfgs)*
        const _: () = {
            #library::__private::inventory::submit! {
                #library::__private::Registration {
                    moments: &[#moments],
                    order: #order,
                    timeout: #timeout,
                    name: #name,
                    place: #place,
                    call: #call,
                }
            }
        };
    }
}

/// What is compiled out registers nothing.
fn is_cfg(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
}

fn timeout(timeout: Option<Duration>) -> TokenStream {
    match timeout.map(|time| (time.as_secs(), time.subsec_nanos())) {
        Some((secs, nanos)) => quote! {
            ::core::option::Option::Some(::core::time::Duration::new(#secs, #nanos))
        },
        None => quote!(::core::option::Option::None),
    }
}

/// Where the function's name stands: hooks of equal order run in the order of declaration.
fn place(library: &Path, function: &Function) -> TokenStream {
    let at = function.signature.ident.span();
    let [env, file, line] = ["env", "file", "line"].map(|name| Ident::new(name, at));
    quote! {
        #library::__private::Place {
            krate: ::core::#env!("CARGO_CRATE_NAME"),
            file: ::core::#file!(),
            line: ::core::#line!(),
        }
    }
}

/// How the runtime calls the function. A wrong return value is an error at its type, a wrong argument at
/// the argument.
fn call(hook: &Hook, function: &Function) -> TokenStream {
    let at = function.returns();
    let library = options::library_at(at, hook.library.as_ref());
    let name = function.name_at(at);
    let event = event(function);
    let result = quote_spanned!(at=> #library::__private::hook_result);
    let (waits, body) = match function.signature.asyncness {
        None => ("Sync", quote_spanned!(at=> #result(#name(#event)))),
        Some(_) => (
            "Async",
            quote_spanned!(at=> ::std::boxed::Box::pin(async move { #result(#name(#event).await) })),
        ),
    };
    let takes = match hook.moment.takes_address() {
        true => "Address",
        false => "",
    };
    let call = format_ident!("{waits}{takes}");
    let parameter = event.map_or(quote!(_), |event| quote!(#event));
    quote!(#library::__private::Call::#call(|#parameter| #body))
}

/// The argument, if the function takes one; hygienic, so that the function may be called `event` itself.
fn event(function: &Function) -> Option<Ident> {
    let argument = function.signature.inputs.first()?;
    let at = generated_at(argument.span());
    Some(Ident::new("event", Span::mixed_site().located_at(at)))
}
