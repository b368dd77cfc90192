//! How machines are stored. It refuses rules.
use super::changes::Changes;
use super::people::Only;
use super::record::{Key, Record};
use super::tables::Table;
use crate::base::ids::*;
use crate::base::window::Instant;
use crate::domain::fleet::duty::{Brake, Maintenance};
use crate::domain::fleet::evidence::Evidence;
use crate::domain::fleet::health::GpuHealth;
use crate::domain::fleet::node::*;
use crate::domain::fleet::unbooked::{Bill, BilledDay, UnixName, UnixUser, Use};

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

impl Record for Use {
    const TABLE: Table = Table::Uses;
    type Key = UseId;

    fn key(&self) -> UseId {
        self.id
    }
}

/// Writes a use and keeps the index of open ones true: (node, use).
pub fn put_use(changes: &mut Changes, known: &Use) {
    changes.put(known);
    let key = (known.node, known.id);
    match known.is_open() {
        true => changes.index(Table::OpenUses, &key, &known.id),
        false => changes.unindex(Table::OpenUses, &key),
    };
}

/// Keyed (GPU, beginning): one GPU's lie together in time.
impl Record for Bill {
    const TABLE: Table = Table::UseBills;
    type Key = (UnitId, Instant);

    fn key(&self) -> Self::Key {
        (self.unit, self.window.start())
    }
}

impl Record for BilledDay {
    const TABLE: Table = Table::UseDays;
    type Key = (MemberId, PoolId, u64);

    fn key(&self) -> Self::Key {
        (self.member, self.pool, self.day)
    }
}

/// Pool (zeros for all of them), then a letter for number or name, then that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixUserKey(pub Option<PoolId>, pub UnixName);

impl Key for UnixUserKey {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.map_or([0; 16], PoolId::to_bytes).to_vec();
        match &self.1 {
            UnixName::Uid(uid) => bytes.extend([b'#'].into_iter().chain(uid.to_be_bytes())),
            UnixName::Name(name) => bytes.extend([b'@'].into_iter().chain(name.bytes())),
        }
        bytes
    }
}

impl Record for UnixUser {
    const TABLE: Table = Table::UnixUsers;
    type Key = UnixUserKey;

    fn key(&self) -> UnixUserKey {
        UnixUserKey(self.pool, self.user.clone())
    }
}
