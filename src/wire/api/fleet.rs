//! Machines in the API.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Moment;
use crate::base::hardware::ObservedNode;
use crate::base::ids::{BookingId, NodeId, UnitId};

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    pub id: NodeId,
    pub name: String,
    pub pool: String,
    pub owner: Option<String>,
    /// `pending`, `admitted`, `closed` or `revoked`.
    pub state: String,
    /// Why, in a sentence, where there is something to say.
    pub state_note: Option<String>,
    pub connected: bool,
    pub last_contact: Option<Moment>,
    pub local: bool,
    pub simulated: bool,
    pub gpus: Vec<GpuView>,
    #[schema(value_type = Object)]
    pub observed: ObservedNode,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct GpuView {
    pub id: UnitId,
    pub node: NodeId,
    pub node_name: String,
    pub index: u32,
    pub uuid: String,
    pub model: String,
    pub memory_bytes: u64,
    /// `free`, `leased`, `unknown` (its node is away) or `out_of_service`.
    pub state: String,
    pub state_note: Option<String>,
    /// Whose lease it is in now, where the reader may know.
    pub booking: Option<BookingId>,
    /// Until when it stays as it is.
    pub until: Option<Moment>,
}
