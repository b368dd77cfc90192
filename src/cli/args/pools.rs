//! What the command line takes of pools, of use outside bookings, and of Unix users.
use clap::{Args, Subcommand};

use super::duration;
use crate::base::text;
use crate::base::window::Span;

/// Pools are named by id or name.
#[derive(Clone, Debug, Subcommand)]
pub enum PoolVerb {
    /// All pools
    List,
    /// What holds in a pool, its GPUs, and who is on it
    Show { pool: String },
    /// Make a pool with the policy that every pool begins with
    Make {
        name: String,
        /// Nodes that join are bookable without another word
        #[arg(long)]
        auto_admit: bool,
    },
    /// Give a pool another name
    Rename {
        pool: String,
        name: String,
        #[arg(long)]
        why: String,
    },
    /// Change what holds in a pool; what is booked keeps what it was promised
    Set(PoolSetArgs),
}

#[derive(Clone, Debug, Args)]
pub struct PoolSetArgs {
    pub pool: String,
    /// true or false: nodes that join are bookable without an admin's word
    #[arg(long, value_name = "BOOL")]
    pub auto_admit: Option<bool>,
    /// Kept free after each lease, billed to nobody, such as 60s; 0 for none
    #[arg(long, value_parser = length)]
    pub turnaround: Option<Length>,
    /// From SIGTERM to SIGKILL, such as 30s
    #[arg(long, value_parser = duration)]
    pub grace: Option<Span>,
    /// The longest booking, such as 7d
    #[arg(long, value_parser = duration)]
    pub longest: Option<Span>,
    /// How far ahead a booking may start, such as 28d
    #[arg(long, value_parser = duration)]
    pub ahead: Option<Span>,
    /// What becomes of use outside bookings: notify, end or bill
    #[arg(long)]
    pub unbooked: Option<String>,
    /// With --unbooked end: how long after it was first seen
    #[arg(long, value_parser = duration)]
    pub after: Option<Span>,
    /// true or false: it is ended before a booking of that GPU begins
    #[arg(long, value_name = "BOOL")]
    pub clear: Option<bool>,
    /// true or false: also processes of root and of system accounts
    #[arg(long, value_name = "BOOL")]
    pub system: Option<bool>,
    /// With --unbooked bill: the most credits that one person is billed in a day
    #[arg(long, value_name = "CREDITS")]
    pub most_a_day: Option<String>,
    /// Stays in the pool's history; needed unless it is a preview
    #[arg(long, required_unless_present = "preview")]
    pub why: Option<String>,
    /// Only say what it would change
    #[arg(long)]
    pub preview: bool,
}

/// A length of time that may be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length(pub Span);

fn length(text: &str) -> Result<Length, text::BadText> {
    if text.trim() == "0" { Ok(Length(Span::ZERO)) } else { duration(text).map(Length) }
}

#[derive(Clone, Debug, Subcommand)]
pub enum UnbookedVerb {
    /// What goes on, and what was in the last month
    List,
    /// Give back what was billed of it
    Void {
        id: String,
        #[arg(long)]
        why: String,
    },
}

#[derive(Clone, Debug, Subcommand)]
pub enum UnixUserVerb {
    /// Everybody who is named
    List,
    /// Say whose a Unix user is
    Set {
        /// Number or name
        user: String,
        /// Id or address of the member
        #[arg(long)]
        member: String,
        /// Who pays; their first team without it
        #[arg(long)]
        team: Option<String>,
        /// Only in this pool
        #[arg(long)]
        pool: Option<String>,
    },
    /// Take that word back
    Remove {
        user: String,
        #[arg(long)]
        pool: Option<String>,
    },
}
