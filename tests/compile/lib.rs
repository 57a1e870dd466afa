//! Nothing but a place for the programs that `compile.rs` tries.
