//! Machines: how they join, stay in touch, get their orders and are shown. It refuses to take a machine's word for who it
//! is: identity comes from the certificate alone.
use std::sync::Arc;

use crate::app::mill::Mill;
use crate::app::trust::Root;

pub mod authority;
pub mod brake;
pub mod comeback;
pub mod contact;
pub mod doors;
pub mod doubles;
pub mod duty;
pub mod health;
pub mod history;
pub mod hub;
pub mod join;
pub mod link;
pub mod maintenance;
pub mod manage;
pub mod metrics;
pub mod orders;
pub mod overreach;
pub mod pool_past;
pub mod pools;
pub mod program;
pub mod reading;
pub mod samples;
pub mod show;
pub mod streams;
pub mod tokens;
pub mod unbooked;
pub mod upgrade;
pub mod watch;

/// What the gateway and the fleet's tasks need; cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    pub mill: Mill,
    /// Signs nodes in.
    pub root: Arc<Root>,
    /// What bookings make of nodes.
    pub orders: Arc<dyn orders::Orders>,
}
