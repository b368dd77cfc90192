//! What crosses a process boundary: the node protocol and the API's types. A leaf: it knows `base` alone, so that server,
//! agent and command line agree without knowing each other. It refuses behaviour beyond encoding.
pub mod api;
pub mod node;
