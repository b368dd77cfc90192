//! Machines: how they join, stay in touch, get their orders and are shown. It refuses to take a machine's word for who it
//! is: identity comes from the certificate alone.
pub mod hub;
pub mod streams;
