//! `#[endless::hook]`: the user's function as it is, and its entry in the registry of hooks.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, FnArg, Path, Result, Signature, Type};

use crate::faults::{all, both};
use crate::function::Function;
use crate::grammar::{Form, Value};
use crate::literal::Kind;
use crate::moment::Moment;
use crate::options::{self, Setting};
use crate::registration;

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    match register(arguments, item.clone()) {
        Ok(registration) => quote!(#item #registration),
        Err(fault) => {
            let fault = fault.to_compile_error();
            quote!(#[allow(dead_code)] #item #fault)
        }
    }
}

fn register(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function = Function::read(item, "a function")?;
    let (hook, ()) = both(Hook::read(arguments), function.without_generics())?;
    check(&function.signature, &hook.moment)?;
    Ok(registration::expand(&hook, &function))
}

/// What the arguments say.
pub(crate) struct Hook {
    pub(crate) library: Option<Path>,
    pub(crate) moment: Moment,
    pub(crate) order: i32,
    /// `None`: the runtime's default.
    pub(crate) timeout: Option<Duration>,
}

const OPTIONS: [&str; 9] =
    ["pre", "post", "before_begin", "ready", "drained", "hammered", "order", "timeout", "crate"];

impl Hook {
    fn read(arguments: TokenStream) -> Result<Self> {
        let settings = options::read(arguments, r#"pre = "SIGHUP""#)?;
        all(settings.iter().map(known))?;
        let find = |name| settings.iter().find(|setting| setting.name == name);
        let order = find("order").map_or(Ok(0), order);
        let timeout = find("timeout").map_or(Ok(None), timeout);
        let when = both(Moment::read(&settings), both(order, timeout));
        let (library, (moment, (order, timeout))) = both(options::library(&settings), when)?;
        Ok(Self { library, moment, order, timeout })
    }
}

fn known(setting: &Setting) -> Result<()> {
    match OPTIONS.iter().any(|name| setting.name == name) {
        true => Ok(()),
        false => Err(setting.unknown(&OPTIONS)),
    }
}

fn order(setting: &Setting) -> Result<i32> {
    let refusal = format!("expected an integer from {} to {}", i32::MIN, i32::MAX);
    let orders = Kind::Order.read(setting, |text| text.parse().map_err(|_| &refusal))?;
    Ok(orders[0])
}

fn timeout(setting: &Setting) -> Result<Option<Duration>> {
    let form = Form::Duration;
    let values = Kind::Option(form).read(setting, |text| form.parse(text))?;
    Ok(values.into_iter().find_map(|value| match value {
        Value::Duration(time) => time,
        _ => None,
    }))
}

/// Refuses a function that cannot be called at this moment.
fn check(signature: &Signature, moment: &Moment) -> Result<()> {
    let argument = match moment.takes_address() {
        true => "`&endless::Address`",
        false => "`&endless::Event`",
    };
    let fault = |place: TokenStream, expected: String| Err(Error::new_spanned(place, expected));
    let inputs: Vec<_> = signature.inputs.iter().collect();
    match (&inputs[..], signature.asyncness) {
        (_, Some(keyword)) if moment.is_too_late_to_wait() => {
            fault(quote!(#keyword), "expected `fn`: the hammer waits for no `async fn`".to_owned())
        }
        ([FnArg::Receiver(receiver), ..], _) => {
            fault(quote!(#receiver), "expected a free function: a hook has no `self`".to_owned())
        }
        ([_, surplus @ ..], _) if !surplus.is_empty() => {
            fault(quote!(#(#surplus),*), format!("expected no argument or one {argument}"))
        }
        ([FnArg::Typed(typed)], _) if !is_reference(&typed.ty) => {
            let kind = &typed.ty;
            fault(quote!(#kind), format!("expected {argument}"))
        }
        _ => Ok(()),
    }
}

fn is_reference(kind: &Type) -> bool {
    match kind {
        Type::Group(group) => is_reference(&group.elem),
        Type::Reference(reference) => reference.mutability.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(arguments: TokenStream, item: TokenStream) -> String {
        expand(arguments, item).to_string()
    }

    #[test]
    fn the_function_stays_and_is_registered() {
        let arguments = quote!(pre = ["hup", "INT"], post = "SIGHUP", order = -1, timeout = "500ms");
        let item = quote! {
            #[cfg(unix)]
            async fn check(event: &Event) { body }
        };
        let expected = quote! {
            #item
            #[cfg(unix)]
            const _: () = {
                ::endless::__private::inventory::submit! {
                    ::endless::__private::Registration {
                        moments: &[
                            ::endless::__private::Moment::Pre(::endless::Signal::Hangup),
                            ::endless::__private::Moment::Pre(::endless::Signal::Interrupt),
                            ::endless::__private::Moment::Post(::endless::Signal::Hangup)
                        ],
                        order: -1i32,
                        timeout: ::core::option::Option::Some(::core::time::Duration::new(0u64, 500000000u32)),
                        name: "check",
                        place: ::endless::__private::Place {
                            krate: ::core::env!("CARGO_CRATE_NAME"),
                            file: ::core::file!(),
                            line: ::core::line!(),
                        },
                        call: ::endless::__private::Call::Async(|event| ::std::boxed::Box::pin(async move {
                            ::endless::__private::hook_result(check(event).await)
                        })),
                    }
                }
            };
        };
        assert_eq!(expanded(arguments, item.clone()), expected.to_string());
    }

    #[test]
    fn before_begin_takes_an_address() {
        let expected = quote! {
            call: ::endless::__private::Call::SyncAddress(|_| ::endless::__private::hook_result(note())),
        };
        let expanded = expanded(
            quote!(before_begin),
            quote!(
                fn note() {}
            ),
        );
        assert!(expanded.contains(&expected.to_string()), "{expanded}");
    }

    #[test]
    fn after_a_fault_the_function_is_still_there() {
        let expected = quote! {
            #[allow(dead_code)]
            async fn last() {}
            ::core::compile_error! { "expected `fn`: the hammer waits for no `async fn`" }
        };
        let item = quote!(
            async fn last() {}
        );
        assert_eq!(expanded(quote!(hammered), item), expected.to_string());
    }
}
