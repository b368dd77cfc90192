//! Machines and their mill over real sockets with real certificates; where it matters, with a real agent process and real
//! leases. Waiting is for a state, never for a time: what does not come fails after a minute with what was seen instead.
mod hostile;
mod identity;
mod leases;
mod membership;
pub mod mill;
mod upgrade;
