//! What the command line takes. These forms are a contract with other people's scripts: they grow, and never change. It
//! refuses passwords as arguments, where other users of the machine could read them.
use std::path::PathBuf;

use clap::{Args, Subcommand};

mod pools;

pub use pools::{PoolSetArgs, PoolVerb, UnbookedVerb, UnixUserVerb};

use crate::base::text;
use crate::base::window::Span;

/// What every verb takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Globals {
    /// One JSON document on standard output instead of a table
    #[arg(long, global = true)]
    pub json: bool,
    /// Only ids on standard output, and no progress on standard error
    #[arg(long, short, global = true, conflicts_with = "json")]
    pub quiet: bool,
}

/// The verbs of a client.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Sign in to a mill; its token is kept under $GRISTMILL_HOME, else in the XDG config directory
    Login(LoginArgs),
    /// The mill at a glance, and who you are
    Status,
    /// The machines
    Nodes,
    /// Add a machine, admit it, take it out
    #[command(subcommand)]
    Node(NodeVerb),
    /// Groups of machines and what holds in them
    #[command(subcommand)]
    Pool(PoolVerb),
    /// GPUs used outside bookings: processes that no booking covers
    #[command(subcommand)]
    Unbooked(UnbookedVerb),
    /// Whose the Unix users of the machines are
    #[command(subcommand)]
    UnixUser(UnixUserVerb),
    /// The GPUs, and which are free
    Gpus,
    /// The health of the fleet's GPUs, or of one node (id or name) or GPU (id). The exit code is the verdict: 0 nothing
    /// speaks against them, 7 something is watched or out, 8 somebody has to look
    Health {
        #[arg(value_name = "NODE|GPU")]
        given: Option<String>,
    },
    /// Your bookings that are under way or to come
    Bookings(ListArgs),
    /// One booking: state, price, machines
    Show { id: String },
    /// What a booking would cost and when it would start; books nothing
    Quote(AskArgs),
    /// Book GPUs; prints the booking's id
    Book(AskArgs),
    /// Book GPUs as soon as possible, run a command on them, follow its output, return its exit code
    Run(RunArgs),
    /// Open a terminal in a running booking; leave it with Ctrl-]
    Attach {
        id: String,
        /// Which of the booking's terminals; opened when it is not there
        #[arg(long, default_value_t = 1)]
        tab: u16,
    },
    /// The output of a booking's command
    Logs {
        id: String,
        /// Go on until the command ends
        #[arg(long, short)]
        follow: bool,
    },
    /// Make a booking last longer
    Extend {
        id: String,
        /// Such as 1h or 90m
        #[arg(long, value_parser = duration)]
        by: Span,
    },
    /// Give a running booking back early
    Release { id: String },
    /// Give a booking up before it starts
    Cancel { id: String },
    /// Invite a person into a team; prints the one-time link
    Invite(InviteArgs),
    /// Grant a team credits
    Grant(GrantArgs),
    /// A team's account
    Statement(StatementArgs),
    /// Documents for finance
    #[command(subcommand)]
    Invoice(InvoiceVerb),
    /// What a GPU costs per hour
    #[command(subcommand)]
    Rate(RateVerb),
    /// Recompute ledger and calendar from nothing: of a stopped server's directory, or of the running server as admin
    Verify(VerifyArgs),
    /// Write a backup of the running mill to a file
    Backup { file: PathBuf },
}

#[derive(Clone, Debug, Subcommand)]
pub enum NodeVerb {
    /// Print the line to paste on a machine that shall become a node; it works once, for 15 minutes
    Add(NodeAddArgs),
    /// Admit a node that waits, or accept the changed hardware of one that was closed for it
    Admit {
        /// Id or name
        node: String,
    },
    /// Let a node's agent become the mill's version; its leases go on
    Upgrade {
        /// Id or name
        node: String,
        /// Also when it is that version already
        #[arg(long)]
        again: bool,
    },
    /// End a node's membership for good: its connection closes at once
    Revoke {
        /// Id or name
        node: String,
    },
    #[command(flatten)]
    Care(CareVerb),
}

/// Looking after a node. Nodes are named by id or name.
#[derive(Clone, Debug, Subcommand)]
pub enum CareVerb {
    /// Let a node take bookings again
    Open { node: String },
    /// Take no new bookings; what is booked stays and runs
    Cordon {
        node: String,
        #[arg(long)]
        why: String,
    },
    /// Run empty: what has not begun moves to equal GPUs, what runs, runs to its end
    Drain {
        node: String,
        #[arg(long)]
        why: String,
    },
    /// Announce maintenance: its time leaves the calendar, and what is in the way is moved or told
    Maintain {
        node: String,
        /// Such as 2026-12-01T09:00, in the mill's time zone
        #[arg(long)]
        from: String,
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        duration: Span,
        #[arg(long)]
        why: String,
    },
    /// Call announced maintenance off
    CallOff {
        node: String,
        /// The maintenance's id
        maintenance: String,
    },
    /// Give a node another name
    Rename { node: String, name: String },
    /// Put a node into another pool
    Move {
        node: String,
        #[arg(long)]
        pool: String,
    },
    /// Take an empty node out for good; its history stays
    Retire {
        node: String,
        #[arg(long)]
        why: String,
    },
}

#[derive(Clone, Debug, Args)]
pub struct NodeAddArgs {
    /// Id or name; may be left out where there is one pool
    #[arg(long)]
    pub pool: Option<String>,
    /// The team that owns the machine; the organisation without it
    #[arg(long, value_name = "TEAM")]
    pub owner_team: Option<String>,
    /// The node's name; its host name without it
    #[arg(long)]
    pub name: Option<String>,
    /// Stay until the machine is a node, and say how far it is
    #[arg(long)]
    pub wait: bool,
}

#[derive(Clone, Debug, Args)]
pub struct LoginArgs {
    /// Where the mill is, such as https://mill.lab
    pub url: String,
    #[arg(long)]
    pub email: String,
    /// Read the password from standard input (its first line)
    #[arg(long, required = true)]
    pub password_stdin: bool,
    /// Trust the certificate authority in this PEM file, for this mill alone
    #[arg(long, value_name = "FILE", conflicts_with = "ca_fingerprint")]
    pub ca: Option<PathBuf>,
    /// Fetch the mill's own certificate authority and trust it if its SHA-256 fingerprint is this
    #[arg(long, value_name = "HEX")]
    pub ca_fingerprint: Option<String>,
    /// Used where a command needs a team and names none
    #[arg(long, value_name = "TEAM")]
    pub team: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Those of others and of the past as well, as far as you may see them
    #[arg(long)]
    pub all: bool,
    /// Only those in this state: booked, starting, active, ending, ended, cancelled or failed
    #[arg(long)]
    pub state: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct AskArgs {
    /// How many GPUs, all on one machine
    #[arg(long)]
    pub gpus: u64,
    /// Such as H100; any without it. A MIG instance by GPU and profile: "H200 1g.18gb"
    #[arg(long)]
    pub model: Option<String>,
    /// How long, such as 3h, 90m, 2d or 1h30m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub duration: Span,
    /// Start exactly then, such as 2026-12-01T09:00 in the mill's time zone; as soon as possible without it
    #[arg(long, conflicts_with = "by")]
    pub at: Option<String>,
    /// As soon as possible, but over by then
    #[arg(long)]
    pub by: Option<String>,
    /// Who pays
    #[arg(long)]
    pub team: Option<String>,
    /// What it is called on the calendar
    #[arg(long)]
    pub title: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// How many GPUs, all on one machine
    #[arg(long)]
    pub gpus: u64,
    /// Such as H100; any without it. A MIG instance by GPU and profile: "H200 1g.18gb"
    #[arg(long)]
    pub model: Option<String>,
    /// The longest it may take, such as 10m; it costs only the time it takes
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub duration: Span,
    /// Who pays
    #[arg(long)]
    pub team: Option<String>,
    /// What it is called on the calendar
    #[arg(long)]
    pub title: Option<String>,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub struct InviteArgs {
    #[arg(long)]
    pub email: String,
    #[arg(long)]
    pub team: Option<String>,
    /// member or lead
    #[arg(long, default_value = "member")]
    pub role: String,
}

#[derive(Clone, Debug, Args)]
pub struct GrantArgs {
    #[arg(long)]
    pub team: Option<String>,
    /// Credits, such as 1000 or 12.50
    #[arg(long)]
    pub amount: String,
    /// Stands on the team's statement
    #[arg(long)]
    pub reason: String,
}

#[derive(Clone, Debug, Args)]
pub struct StatementArgs {
    #[arg(long)]
    pub team: Option<String>,
    /// Only lines before this one: the `next` of an earlier answer
    #[arg(long)]
    pub before: Option<u64>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum InvoiceVerb {
    /// Draw up a team's document for a month, such as 2026-11
    Draft {
        #[arg(long)]
        team: Option<String>,
        #[arg(long)]
        period: String,
    },
    /// Give a draft its number; it never changes again
    Issue { id: String },
    /// All documents that you may see
    List,
    /// Write an issued document's PDF to a file
    Pdf {
        id: String,
        #[arg(long, short)]
        output: PathBuf,
    },
    /// Mark an issued document as settled
    Settle { id: String },
}

#[derive(Clone, Debug, Subcommand)]
pub enum RateVerb {
    /// The rates in force
    List,
    /// Put a new rate in force for bookings from now on
    Set {
        #[arg(long)]
        model: String,
        /// Credits, such as 2.50
        #[arg(long)]
        per_gpu_hour: String,
    },
}

#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// Of a server that does not run; without it the running server is asked
    #[arg(long)]
    pub data: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Span, text::BadText> {
    text::duration(text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        verb: Verb,
        #[command(flatten)]
        globals: Globals,
    }

    fn read(line: &str) -> Result<Line, clap::Error> {
        Line::try_parse_from(["gristmill"].into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn the_fixed_forms_are_read() {
        for line in [
            "login https://mill.lab --email a@b.c --password-stdin",
            "status",
            "nodes --json",
            "gpus",
            "health",
            "health stone-1 --json",
            "node add --pool main --owner-team Vision --name stone-1 --wait",
            "node admit stone-1",
            "node revoke nd_1",
            "node upgrade stone-1 --again",
            "node cordon stone-1 --why fans",
            "node maintain stone-1 --from 2026-12-01T09:00 --for 2h --why fans",
            "node call-off stone-1 mt_1",
            "node move stone-1 --pool night",
            "pool list",
            "pool show main --json",
            "pool make night --auto-admit",
            "pool rename night moon --why nicer",
            "pool set main --turnaround 0 --grace 1m --unbooked end --after 15m --clear true --why rules",
            "pool set main --longest 2d --preview",
            "unbooked list",
            "unbooked void us_1 --why mistake",
            "unix-user list",
            "unix-user set 1001 --member a@b.c --team T --pool main",
            "unix-user remove 1001",
            "bookings",
            "show bk_1",
            "quote --gpus 2 --model H100 --for 3h --at 2026-12-01T09:00",
            "book --gpus 2 --for 3h --by 2026-12-01T09:00 --team T",
            "run --gpus 1 --for 10m -- sh -c x",
            "attach bk_1",
            "logs bk_1 --follow",
            "extend bk_1 --by 1h",
            "release bk_1",
            "cancel bk_1",
            "invite --email a@b.c --team T --role member",
            "grant --team T --amount 1000 --reason why",
            "statement --team T",
            "invoice draft --team T --period 2026-11",
            "invoice issue in_1",
            "invoice list",
            "invoice pdf in_1 --output f.pdf",
            "invoice settle in_1",
            "rate list",
            "rate set --model H100 --per-gpu-hour 2.50",
            "verify",
            "verify --data /srv/mill",
            "backup mill.gmb",
        ] {
            read(line).unwrap_or_else(|bad| panic!("{line}: {bad}"));
        }
        for line in [
            "run --gpus 1 --for 10m",
            "login u --email a@b.c",
            "quote --gpus 1",
            "pool set main --grace 1m",
            "book --gpus -1 --for 1h",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn what_follows_the_dashes_is_the_command() {
        let read = read("run --gpus 1 --for 10m -- nvidia-smi --json -q").unwrap();
        assert!(!read.globals.json);
        assert!(matches!(read.verb, Verb::Run(args) if args.command == ["nvidia-smi", "--json", "-q"]));
    }
}
