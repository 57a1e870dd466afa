//! In a module, in a function, from a macro, compiled out; with names that the expansion might have used.
mod inner {
    #[endless::hook(ready)]
    fn note(_: &super::Event) {}
}

use endless::Event;

#[endless::hook(ready)]
fn event(_: &Event) {}

#[endless::hook(ready)]
async fn call(_: &Event) {}

#[endless::hook(ready)]
fn r#match() {}

#[endless::hook(ready)]
#[cfg(any())]
fn compiled_out(_: NoSuchType) {}

macro_rules! hook {
    ($signal:literal, $name:ident, $argument:ty) => {
        #[endless::hook(post = $signal)]
        fn $name(_: $argument) {}
    };
}

hook!("SIGIO", made, &Event);

fn main() {
    #[endless::hook(ready)]
    fn nested() {}
}
