//! How machines are stored. It refuses rules.
use super::people::Only;
use super::record::Record;
use super::tables::Table;
use crate::base::ids::*;
use crate::domain::fleet::duty::{Brake, Maintenance};
use crate::domain::fleet::evidence::Evidence;
use crate::domain::fleet::health::GpuHealth;
use crate::domain::fleet::node::*;

impl Record for Pool {
    const TABLE: Table = Table::Pools;
    type Key = PoolId;

    fn key(&self) -> PoolId {
        self.id
    }
}

impl Record for Node {
    const TABLE: Table = Table::Nodes;
    type Key = NodeId;

    fn key(&self) -> NodeId {
        self.id
    }
}

impl Record for NodeContact {
    const TABLE: Table = Table::NodeContacts;
    type Key = NodeId;

    fn key(&self) -> NodeId {
        self.node
    }
}

impl Record for NodeAgent {
    const TABLE: Table = Table::NodeAgents;
    type Key = NodeId;

    fn key(&self) -> NodeId {
        self.node
    }
}

/// Units of one node are found through `Table::UnitsByNode`, keyed (node, unit).
impl Record for Unit {
    const TABLE: Table = Table::Units;
    type Key = UnitId;

    fn key(&self) -> UnitId {
        self.id
    }
}

impl Record for JoinToken {
    const TABLE: Table = Table::JoinTokens;
    type Key = [u8; 32];

    fn key(&self) -> [u8; 32] {
        *self.token.as_bytes()
    }
}

/// Keyed (node, maintenance): one node's lie together.
impl Record for Maintenance {
    const TABLE: Table = Table::Maintenance;
    type Key = (NodeId, MaintenanceId);

    fn key(&self) -> (NodeId, MaintenanceId) {
        (self.node, self.id)
    }
}

impl Record for GpuHealth {
    const TABLE: Table = Table::GpuHealth;
    type Key = UnitId;

    fn key(&self) -> UnitId {
        self.unit
    }
}

/// Keyed (unit, evidence): one GPU's lie together, in the order in which they were written down.
impl Record for Evidence {
    const TABLE: Table = Table::Evidence;
    type Key = (UnitId, EvidenceId);

    fn key(&self) -> (UnitId, EvidenceId) {
        (self.unit, self.id)
    }
}

/// Key of the one brake in the meta table; the row is there while the brake is on.
pub const BRAKE: Only = Only("brake");

impl Record for Brake {
    const TABLE: Table = Table::Meta;
    type Key = Only;

    fn key(&self) -> Only {
        BRAKE
    }
}
