//! Pages of the fleet: nodes, one node, adding one, what a new one needs, one GPU, the metrics, and the certificate that
//! people trust.
pub mod add;
pub mod care;
pub mod chart;
pub mod gpu;
pub mod health;
pub mod install;
pub mod metrics;
pub mod nodes;
pub mod pools;
pub mod unbooked;

use rocket::http::{ContentType, Header};
use rocket::response::Responder;
use rocket::{Route, State, get, routes};

use crate::app::fleet::authority;
use crate::app::mill::Mill;
use crate::domain::notice::Common;
use crate::web::error::PageError;
use crate::web::guard::Visit;

pub fn routes() -> Vec<Route> {
    routes![
        nodes::list,
        nodes::page,
        nodes::admit,
        nodes::revoke,
        care::page,
        care::set_duty,
        care::rename,
        care::retire,
        care::announce,
        care::foresee,
        care::cancel,
        pools::list,
        pools::make,
        pools::page,
        pools::foresee,
        pools::change,
        unbooked::page,
        unbooked::void,
        unbooked::assign,
        unbooked::remove,
        care::release,
        nodes::upgrade,
        add::page,
        add::make,
        add::wait,
        add::admit,
        add::admission,
        install::script,
        install::binary,
        gpu::page,
        gpu::readings,
        gpu::of_node,
        health::fleet,
        health::gpu,
        health::say,
        health::contest,
        health::decide,
        metrics::page,
        metrics::turned_away,
        root
    ]
}

/// The mill's root certificate, to be trusted by browsers and nodes. Open to anybody: it holds no secret.
#[derive(Responder)]
pub struct Root {
    pem: String,
    content_type: ContentType,
    disposition: Header<'static>,
}

#[get("/ca.pem")]
pub fn root(_visit: Visit, mill: &State<Mill>) -> Result<Root, PageError> {
    let pem = authority::root_certificate(&mill.store.read()?)?.ok_or(Common::NotFound { what: "certificate" })?;
    let disposition = Header::new("content-disposition", "attachment; filename=\"gristmill-ca.pem\"");
    Ok(Root { pem, content_type: ContentType::new("application", "x-pem-file"), disposition })
}
