//! What the macros name. Not part of the public interface.

pub use inventory;

pub use crate::endlessctl::run as run_endlessctl;
pub use crate::entry::{run_main, serve_main};
pub use crate::signal::hook::{
    Call, HookFuture, HookResult, HookReturn, Moment, Place, Registration, hook_result,
};
