//! The front door's TLS: which certificate it begins with, and the task that puts the next one in while it serves. It refuses
//! to start without a certificate, and to stop for one that cannot be used.
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::serve::ServeError;
use crate::app::error::with_causes;
use crate::app::trust::Root;
use crate::app::trust::door::{DoorCertificate, Source};
use crate::clock;
use crate::config::ServeSettings;
use crate::edge::tls::{self, CurrentCertificate};

/// How often it is asked whether another certificate is due, and the files are read again.
const EVERY: Duration = Duration::from_secs(60);

/// TLS that is set up.
pub struct Tls {
    pub config: Arc<rustls::ServerConfig>,
    current: Arc<CurrentCertificate>,
    certificate: DoorCertificate,
    hangups: Option<Signal>,
    /// Whether the mill's own authority signed it.
    pub own: bool,
}

/// `None` where the door speaks plain HTTP.
pub fn open(settings: &ServeSettings, root: &Arc<Root>) -> Result<Option<Tls>, ServeError> {
    let source = match (&settings.tls_cert, &settings.tls_key) {
        (Some(certificate), Some(key)) => Source::Files { certificate: certificate.clone(), key: key.clone() },
        _ if settings.tls() => Source::Own { root: Arc::clone(root), names: settings.certificate_names() },
        _ => return Ok(None),
    };
    let own = matches!(source, Source::Own { .. });
    // Heard from the start on: unheard, the signal would end the server.
    let hangups = matches!(source, Source::Files { .. }).then(|| signal(SignalKind::hangup())).transpose()?;
    let (certificate, first) = DoorCertificate::open(source, clock::now())?;
    let current = CurrentCertificate::new(first);
    let config = tls::server_config(Arc::clone(&current)).map_err(|e| ServeError::Tls(e.to_string()))?;
    Ok(Some(Tls { config, current, certificate, hangups, own }))
}

impl Tls {
    /// Replaces the certificate whenever it is time, for as long as the server runs. Files are also read again on SIGHUP;
    /// without files that signal keeps its meaning: the terminal is gone.
    pub async fn keep(mut self) {
        loop {
            let asked = async {
                match &mut self.hangups {
                    Some(hangups) => hangups.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = asked => {}
            }
            match self.certificate.next(clock::now()) {
                Ok(None) => {}
                Ok(Some(next)) => {
                    self.current.replace(next);
                    tracing::info!("the front door has another certificate; open connections go on");
                }
                Err(error) => {
                    tracing::error!(error = %with_causes(&error), "the front door keeps the certificate it has");
                }
            }
        }
    }
}
