//! This very program as a file, for machines that become nodes and for agents that are upgraded: what it is called, what it
//! weighs, what it needs. It refuses any other file, and reads the one it was started from also after that was replaced.
use std::fs::File;
use std::io::{self, Read as _};

use tokio::sync::OnceCell;

use crate::app::error::{Answer, AppError};
use crate::base::program::Glibc;
use crate::base::secret::hex;

/// The kernel's own way to the file that runs, whatever became of its name.
const SELF: &str = "/proc/self/exe";

/// What is known of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub version: &'static str,
    /// As `uname -m` says it.
    pub architecture: &'static str,
    /// Hexadecimal, of the whole file.
    pub sha256: String,
    pub bytes: u64,
    /// The oldest glibc it runs on; `None` where it needs none.
    pub glibc: Option<Glibc>,
}

/// Read once, on first use.
#[derive(Debug, Default)]
pub struct Known(OnceCell<Program>);

impl Known {
    pub async fn program(&self) -> Answer<&Program> {
        self.0.get_or_try_init(look).await
    }
}

/// The file, to be sent.
pub fn open() -> Answer<File> {
    File::open(SELF).map_err(|error| AppError::outside("opening the program", error))
}

async fn look() -> Answer<Program> {
    let looked = tokio::task::spawn_blocking(read).await;
    let looked = looked.map_err(|error| AppError::outside("reading the program", error))?;
    looked.map_err(|error| AppError::outside("reading the program", error))
}

fn read() -> io::Result<Program> {
    let mut file = File::open(SELF)?;
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    let (mut bytes, mut piece) = (0, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
        digest.update(&piece[..read]);
    }
    Ok(Program {
        version: env!("CARGO_PKG_VERSION"),
        architecture: std::env::consts::ARCH,
        sha256: hex(digest.finish().as_ref()),
        bytes,
        glibc: Glibc::needed_by(&mut file)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_running_program_is_read_once() {
        let known = Known::default();
        let program = known.program().await.unwrap().clone();
        assert_eq!((program.sha256.len(), program.version), (64, env!("CARGO_PKG_VERSION")));
        assert_eq!(program.bytes, open().unwrap().metadata().unwrap().len());
        // Where this program is built for glibc it names its start, which is as old as glibc 2.
        assert_eq!(program.glibc.map(|glibc| glibc.major), cfg!(target_env = "gnu").then_some(2));
        assert_eq!(known.program().await.unwrap(), &program);
    }
}
