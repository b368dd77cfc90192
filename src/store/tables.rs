//! All tables on one page. A table's number and name are a contract with every file ever written: they are never reused.
//! It refuses typed keys of the engine; every key is bytes whose order is the order wanted (see `record::Key`).

/// One table of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    // the installation
    Meta,
    Events,
    Answers,
    Cursors,
    Sealed,
    // people
    Members,
    MembersByEmail,
    Teams,
    TeamsByName,
    Memberships,
    MembershipsByMember,
    Invitations,
    InvitationsByTeam,
    Sessions,
    SessionsByMember,
    Tokens,
    TokensByMember,
    Notices,
    Outbox,
    // fleet
    Pools,
    Nodes,
    NodesByKey,
    NodesByName,
    Units,
    UnitsByNode,
    JoinTokens,
    NodeContacts,
    NodeAgents,
    // bookings
    Bookings,
    BookingsByTeam,
    BookingsByStart,
    BookingsByMember,
    LiveBookings,
    Leases,
    LeasesByBooking,
    LeasesByNode,
    Occupancy,
    // money
    Accounts,
    Entries,
    Transfers,
    Holds,
    HoldsByBooking,
    OpenHolds,
    Rates,
    Documents,
    DocumentsByTeam,
    Papers,
    Series,
    Chain,
    Checkpoints,
    Unbilled,
    Billed,
    BookingsDue,
    Maintenance,
}

impl Table {
    /// The name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Events => "events",
            Self::Answers => "answers",
            Self::Cursors => "cursors",
            Self::Sealed => "sealed",
            Self::Members => "members",
            Self::MembersByEmail => "members_by_email",
            Self::Teams => "teams",
            Self::TeamsByName => "teams_by_name",
            Self::Memberships => "memberships",
            Self::MembershipsByMember => "memberships_by_member",
            Self::Invitations => "invitations",
            Self::InvitationsByTeam => "invitations_by_team",
            Self::Sessions => "sessions",
            Self::SessionsByMember => "sessions_by_member",
            Self::Tokens => "tokens",
            Self::TokensByMember => "tokens_by_member",
            Self::Notices => "notices",
            Self::Outbox => "outbox",
            Self::Pools => "pools",
            Self::Nodes => "nodes",
            Self::NodesByKey => "nodes_by_key",
            Self::NodesByName => "nodes_by_name",
            Self::Units => "units",
            Self::UnitsByNode => "units_by_node",
            Self::JoinTokens => "join_tokens",
            Self::NodeContacts => "node_contacts",
            Self::Maintenance => "maintenance",
            Self::NodeAgents => "node_agents",
            Self::Bookings => "bookings",
            Self::BookingsByTeam => "bookings_by_team",
            Self::BookingsByStart => "bookings_by_start",
            Self::BookingsByMember => "bookings_by_member",
            Self::LiveBookings => "live_bookings",
            Self::Leases => "leases",
            Self::LeasesByBooking => "leases_by_booking",
            Self::LeasesByNode => "leases_by_node",
            Self::Occupancy => "occupancy",
            Self::Accounts => "accounts",
            Self::Entries => "entries",
            Self::Transfers => "transfers",
            Self::Holds => "holds",
            Self::HoldsByBooking => "holds_by_booking",
            Self::OpenHolds => "open_holds",
            Self::Rates => "rates",
            Self::Documents => "documents",
            Self::DocumentsByTeam => "documents_by_team",
            Self::Papers => "papers",
            Self::Series => "series",
            Self::Chain => "chain",
            Self::Checkpoints => "checkpoints",
            Self::Unbilled => "unbilled",
            Self::Billed => "billed",
            Self::BookingsDue => "bookings_due",
        }
    }

    /// Every table, for opening, copying and checking.
    pub const ALL: &'static [Self] = &[
        Self::Meta,
        Self::Events,
        Self::Answers,
        Self::Cursors,
        Self::Sealed,
        Self::Members,
        Self::MembersByEmail,
        Self::Teams,
        Self::TeamsByName,
        Self::Memberships,
        Self::MembershipsByMember,
        Self::Invitations,
        Self::InvitationsByTeam,
        Self::Sessions,
        Self::SessionsByMember,
        Self::Tokens,
        Self::TokensByMember,
        Self::Notices,
        Self::Outbox,
        Self::Pools,
        Self::Nodes,
        Self::NodesByKey,
        Self::NodesByName,
        Self::Units,
        Self::UnitsByNode,
        Self::JoinTokens,
        Self::NodeContacts,
        Self::NodeAgents,
        Self::Bookings,
        Self::BookingsByTeam,
        Self::BookingsByStart,
        Self::BookingsByMember,
        Self::LiveBookings,
        Self::Leases,
        Self::LeasesByBooking,
        Self::LeasesByNode,
        Self::Occupancy,
        Self::Accounts,
        Self::Entries,
        Self::Transfers,
        Self::Holds,
        Self::HoldsByBooking,
        Self::OpenHolds,
        Self::Rates,
        Self::Documents,
        Self::DocumentsByTeam,
        Self::Papers,
        Self::Series,
        Self::Chain,
        Self::Checkpoints,
        Self::Unbilled,
        Self::Billed,
        Self::BookingsDue,
        Self::Maintenance,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_holds_each_table_once() {
        let mut numbers: Vec<usize> = Table::ALL.iter().map(|&table| table as usize).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..Table::ALL.len()).collect::<Vec<_>>(), "a table is missing in ALL, or there twice");
        let mut names: Vec<_> = Table::ALL.iter().map(|table| table.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Table::ALL.len());
    }
}
