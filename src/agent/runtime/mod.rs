//! What a lease runs in: the sandbox, its limits and its network. It refuses to weaken silently: what the kernel or the
//! installed tools cannot give is said in words.
pub mod addresses;
pub mod cgroup;
pub mod network;
pub mod root;
pub mod sandbox;
pub mod scratch;
pub mod seccomp;
