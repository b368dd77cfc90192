//! Why a command did not do what was asked, always with the next step. It refuses bare error codes.
use std::path::PathBuf;

use crate::wire::api::Problem;

/// What `run` answers when the mill could not run the command, so that it is told from the command's own code.
pub const RUN_FAILED: u8 = 125;
/// Standard output was closed: 128 + SIGPIPE, as a shell would report it.
pub const CLOSED_PIPE: u8 = 141;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The mill said no.
    Refused {
        status: u16,
        problem: Box<Problem>,
    },
    /// The command line itself was wrong in a way that only shows now.
    Usage {
        what: String,
        why: String,
        next: String,
    },
    Unreachable {
        url: String,
        why: String,
    },
    /// The server's certificate is signed by nobody that this machine trusts.
    Untrusted {
        url: String,
        fingerprint: Option<String>,
    },
    NotSignedIn {
        why: &'static str,
        url: Option<String>,
    },
    /// What answered does not speak as a mill does.
    Strange {
        url: String,
        why: String,
    },
    /// A file of this machine.
    File {
        path: PathBuf,
        why: String,
    },
    Terminal {
        why: String,
    },
}

impl Failure {
    /// The exit code; see the module's head.
    pub fn code(&self) -> u8 {
        match self {
            Self::Refused { status, .. } if *status >= 500 => 5,
            Self::Refused { .. } => 1,
            Self::Usage { .. } => 2,
            Self::Unreachable { .. } | Self::Untrusted { .. } => 3,
            Self::NotSignedIn { .. } => 4,
            Self::Strange { .. } => 5,
            Self::File { .. } | Self::Terminal { .. } => 6,
        }
    }

    /// What happened, why, what to do next; the same shape as the mill's own refusals.
    pub fn problem(&self) -> Problem {
        let (code, what, why, next) = match self {
            Self::Refused { problem, .. } => return (**problem).clone(),
            Self::Usage { what, why, next } => ("usage", what.clone(), why.clone(), next.clone()),
            Self::Unreachable { url, why } => (
                "unreachable",
                format!("The mill at {url} cannot be reached."),
                why.clone(),
                "Check the address and that the server runs (gristmill serve); nothing more was done.".to_owned(),
            ),
            Self::Untrusted { url, fingerprint } => return untrusted(url, fingerprint.as_deref()),
            Self::NotSignedIn { why, url } => (
                "not_signed_in",
                "You are not signed in.".to_owned(),
                (*why).to_owned(),
                format!(
                    "Run: gristmill login {} --email YOU@EXAMPLE.ORG --password-stdin",
                    url.as_deref().unwrap_or("URL")
                ),
            ),
            Self::Strange { url, why } => (
                "strange_answer",
                format!("What answered at {url} does not speak as a mill does."),
                why.clone(),
                "Check the address, and that server and command line are of versions that fit.".to_owned(),
            ),
            Self::File { path, why } => (
                "file",
                format!("{} cannot be used.", path.display()),
                why.clone(),
                "Choose another file or mend this one; then try again.".to_owned(),
            ),
            Self::Terminal { why } => (
                "terminal",
                "The terminal cannot be used.".to_owned(),
                why.clone(),
                "Run this in a terminal; for output alone use: gristmill logs ID --follow".to_owned(),
            ),
        };
        Problem { code: code.to_owned(), what, why, next, field: None, offer: None }
    }

    pub fn file(path: impl Into<PathBuf>, why: &dyn std::fmt::Display) -> Self {
        Self::File { path: path.into(), why: format!("{why}.") }
    }

    pub fn terminal(why: &dyn std::fmt::Display) -> Self {
        Self::Terminal { why: format!("{why}.") }
    }
}

fn untrusted(url: &str, fingerprint: Option<&str>) -> Problem {
    let next = match fingerprint {
        Some(hex) => format!(
            "It offers its own authority with the SHA-256 fingerprint {hex}. Ask an admin whether that is right (it stands \
             in the server's log and settings), then run: gristmill login {url} --ca-fingerprint {hex} …; or give the \
             file with --ca FILE."
        ),
        None => "Ask an admin for the authority's certificate and give it with --ca FILE.".to_owned(),
    };
    Problem {
        code: "untrusted".to_owned(),
        what: format!("The mill at {url} could not prove who it is; nothing was sent to it."),
        why: "Its certificate is not for this address, has expired, or is signed by nobody that this machine trusts."
            .to_owned(),
        next,
        field: None,
        offer: None,
    }
}
