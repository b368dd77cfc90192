//! Who speaks: the node that the client certificate's key belongs to, looked up anew at each connection. It refuses
//! certificates that are not in force any more and nodes that were revoked; a body, header or id never says who it is.
use rocket::http::Status;
use rocket::mtls::Certificate;
use rocket::outcome::Outcome;
use rocket::request::{self, FromRequest, Request};

use crate::app::error::AppError;
use crate::app::fleet::Fleet;
use crate::app::fleet::contact::{Credential, identify};
use crate::base::ids::NodeId;
use crate::base::secret::SecretHash;
use crate::clock;
use crate::domain::fleet::refusal::FleetRefusal;

/// A connection's proven identity.
#[derive(Clone, Debug)]
pub struct NodeKey {
    pub node: NodeId,
    pub credential: Credential,
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for NodeKey {
    type Error = AppError;

    async fn from_request(request: &'r Request<'_>) -> request::Outcome<Self, AppError> {
        let unknown = || Outcome::Error((Status::Unauthorized, FleetRefusal::UnknownCertificate.into()));
        let Outcome::Success(certificate) = request.guard::<Certificate<'_>>().await else { return unknown() };
        let Some(fleet) = request.rocket().state::<Fleet>() else { return unknown() };
        // A resumed TLS session is not checked for its age again.
        if certificate.validity().not_after.timestamp() <= clock::now().as_seconds() {
            return unknown();
        }
        let credential = Credential {
            key: SecretHash::of(certificate.subject_pki.raw),
            serial: certificate.serial().to_str_radix(16),
        };
        match fleet.mill.store.read().and_then(|view| identify(&view, &credential)) {
            Ok(Some(node)) => Outcome::Success(Self { node: node.id, credential }),
            Ok(None) => {
                tracing::warn!(serial = credential.serial, "a certificate that is not in force was shown");
                unknown()
            }
            Err(error) => Outcome::Error((Status::ServiceUnavailable, error.into())),
        }
    }
}
