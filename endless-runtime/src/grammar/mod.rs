//! What options and signals there are, and how each is spelled.
//!
//! The one source of truth for two readers: the runtime, which reads `ENDLESS_…` variables, and the
//! attribute macros, which read literals. Both compile these files (`endless-macros/src/grammar` is a link
//! to this folder), because a macro crate cannot depend on the runtime and a crate of its own would be one
//! more to publish. So nothing here depends on anything but `std`.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "two crates compile these files, and each uses its own part"
)]

pub mod address;
pub mod duration;
pub mod nearest;
pub mod options;
pub mod refusal;
pub mod signal_name;
pub mod value;

pub use address::AddressText;
pub use nearest::nearest;
pub use options::{OPTIONS, Row, find};
pub use refusal::Refusal;
pub use signal_name::SignalRow;
pub use value::{Flavor, Form, Literal, Value};
