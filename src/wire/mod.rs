//! What crosses a process boundary: the node protocol, the API's types, and the stream between a terminal and a lease. A
//! leaf: it knows `base` alone, so that server, agent and command line agree without knowing each other. It refuses
//! behaviour beyond encoding.
pub mod api;
pub mod check;
pub mod frame;
pub mod lease;
pub mod node;
