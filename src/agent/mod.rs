//! The hands on a node: what runs leases, looks at hardware and reports facts. It makes no choices, and knows the wire and
//! the vocabulary but neither rules nor store.
pub mod boot;
pub mod follow;
pub mod gpu;
pub mod lease;
pub mod observe;
pub mod runtime;
pub mod shim;
