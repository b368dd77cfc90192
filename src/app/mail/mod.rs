//! Mail: what the mill tells people who are not looking at a page. `letter` knows the occasions, `render` writes them as
//! text and HTML, `send` hands one to the organisation's relay. It refuses to decide who is told, to keep a queue (the
//! outbox does) and to let any value reach a header or a link unchecked.
pub mod letter;
mod render;
mod send;

pub use letter::Letter;
pub use render::render;
pub use send::{MailError, Recipient, Settings, send};

#[cfg(test)]
mod tests;

/// Where mails come from and where their links lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct House {
    pub organisation: letter::Line,
    /// The address colleagues use, such as `https://mill.lab`; never taken from a request.
    pub public_url: String,
    /// Every mail of a simulated installation says so.
    pub simulated: bool,
}

/// A mail without its recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// One line.
    pub subject: String,
    pub text: String,
    pub html: String,
}
