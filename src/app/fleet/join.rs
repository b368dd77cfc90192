//! How a machine becomes a node and keeps its certificate. The certificate is signed first, for an id chosen first; the
//! transaction then spends the token, and nothing is handed out unless it went through. It refuses a token's second use,
//! with one exception: the same key may ask again for what it was already given, since answers get lost.
use super::{Fleet, tokens};
use crate::app::error::{Answer, AppError};
use crate::app::ids;
use crate::app::trust::{Issued, NODE_LASTS, TrustError};
use crate::base::ids::{NodeId, UnitId};
use crate::base::secret::SecretHash;
use crate::base::text::Name;
use crate::base::window::{Instant, Span};
use crate::clock;
use crate::domain::event::{Cause, Event};
use crate::domain::fleet::duty::Duty;
use crate::domain::fleet::hardware::{credible, first_units};
use crate::domain::fleet::node::*;
use crate::domain::fleet::refusal::{FleetRefusal, Spent};
use crate::domain::notice::Common;
use crate::domain::people::installation::Installation;
use crate::domain::people::refusal::PeopleRefusal;
use crate::store::changes::Changes;
use crate::store::command::{Command, Reject};
use crate::store::people::INSTALLATION;
use crate::store::read::Read;
use crate::store::record::Key as _;
use crate::store::tables::Table;
use crate::store::view::View;
use crate::wire::node::{JoinAnswer, JoinRequest, PROTOCOL, RenewRequest};

/// What the transaction needs to know of the new certificate.
pub(super) struct Signed {
    node: NodeId,
    pub(super) key: SecretHash,
    pub(super) serial: String,
    pub(super) expires: Instant,
    renew_at: Instant,
    chain_pem: String,
}

impl Signed {
    pub(super) fn answer(&self, fleet: &Fleet) -> JoinAnswer {
        JoinAnswer {
            node: self.node,
            certificate_pem: self.chain_pem.clone(),
            root_pem: fleet.root.certificate_pem().to_owned(),
            renew_at: self.renew_at,
            pending: false,
            name: None,
        }
    }
}

/// Lets a machine in. The answer's certificate is the only proof of identity it will ever have.
pub async fn join(fleet: &Fleet, request: JoinRequest) -> Answer<JoinAnswer> {
    if request.protocol != PROTOCOL {
        return Err(FleetRefusal::Protocol { theirs: request.protocol, ours: PROTOCOL }.into());
    }
    credible(&request.observed).map_err(|why| Common::BadField { field: "observed", why: why.to_owned() })?;
    let token = SecretHash::of(request.token.as_bytes());
    let known = {
        // Nobody without a good token gets to have a signature checked or made.
        let view = fleet.mill.store.read()?;
        tokens::usable(&view, &token, clock::now())?.map_err(FleetRefusal::TokenSpent)?;
        let key = request_key(&request.csr_pem)?;
        view.via::<Node>(Table::NodesByKey, key.as_bytes())?
    };
    let node = known.map_or_else(|| NodeId::from_u128(ids::fresh()), |node| node.id);
    let signed = sign(fleet, &request.csr_pem, node)?;
    let answer = signed.answer(fleet);
    let unit_ids: Vec<UnitId> = request.observed.gpus.iter().map(|_| UnitId::from_u128(ids::fresh())).collect();
    let (pending, name) = fleet
        .mill
        .store
        .write(Command::new(Cause::Node(node)), move |view, now| {
            let row = usable_token(view, &token, signed.key, now)?;
            match view.get::<Installation>(&INSTALLATION)? {
                None => return Err(PeopleRefusal::NotSetUp.into()),
                Some(mill) if mill.simulated() != request.simulated => {
                    return Err(FleetRefusal::WrongReality { mill_simulated: mill.simulated() }.into());
                }
                Some(_) => {}
            }
            enter(view, &signed, row, &request, &unit_ids, now)
        })
        .await?;
    Ok(JoinAnswer { pending, name: Some(name), ..answer })
}

/// A new certificate for the same key; the one in force stays good until the new one is seen.
pub async fn renew(fleet: &Fleet, node: NodeId, request: RenewRequest) -> Answer<JoinAnswer> {
    let signed = sign(fleet, &request.csr_pem, node)?;
    let answer = signed.answer(fleet);
    let pending = fleet
        .mill
        .store
        .write(Command::new(Cause::Node(node)), move |view, _| {
            let mut row: Node = view.get(&node)?.ok_or(FleetRefusal::UnknownCertificate)?;
            if row.key != signed.key || row.is_gone() {
                return Err(FleetRefusal::UnknownCertificate.into());
            }
            row.certificate_next = Some(IssuedCertificate { serial: signed.serial.clone(), expires: signed.expires });
            let mut changes = Changes::new();
            changes.put(&row);
            Ok((changes, row.state == NodeState::Pending))
        })
        .await?;
    Ok(JoinAnswer { pending, ..answer })
}

/// A certificate's serial as it is stored: lower-case hexadecimal without leading zeros.
pub fn serial_text(serial: u128) -> String {
    format!("{serial:x}")
}

fn request_key(csr_pem: &str) -> Answer<SecretHash> {
    Ok(SecretHash::of(&request_spki(csr_pem)?))
}

/// The public key that a request is about, in the form whose hash is a node's identity.
pub(super) fn request_spki(csr_pem: &str) -> Result<Vec<u8>, FleetRefusal> {
    crate::app::trust::request_spki(csr_pem).map_err(|_| FleetRefusal::BadRequest)
}

pub(super) fn sign(fleet: &Fleet, csr_pem: &str, node: NodeId) -> Answer<Signed> {
    let key = request_key(csr_pem)?;
    let made = fleet.root.node_certificate(csr_pem, node, ids::fresh(), NODE_LASTS, clock::now());
    let Issued { chain_pem, serial, valid, .. } = made.map_err(|error| match error {
        TrustError::BadRequest => FleetRefusal::BadRequest.into(),
        other => AppError::outside("signing a node's certificate", other),
    })?;
    let renew_at = valid.end().minus(Span::from_millis(valid.span().as_millis() / 3));
    Ok(Signed { node, key, serial: serial_text(serial), expires: valid.end(), renew_at, chain_pem })
}

/// The token, if it may be used now by this key.
fn usable_token(view: &View<'_>, token: &SecretHash, key: SecretHash, now: Instant) -> Result<JoinToken, Reject> {
    let row = tokens::usable(view, token, now)?.map_err(FleetRefusal::TokenSpent)?;
    if let Some((node, _)) = row.used {
        let same = view.get::<Node>(&node)?.is_some_and(|node| node.key == key);
        if !same {
            return Err(FleetRefusal::TokenSpent(Spent::Used).into());
        }
    }
    Ok(row)
}

/// Writes node, units and spent token; answers whether the node waits to be admitted, and its name.
fn enter(
    view: &View<'_>,
    signed: &Signed,
    mut token: JoinToken,
    request: &JoinRequest,
    unit_ids: &[UnitId],
    now: Instant,
) -> Result<(Changes, (bool, String)), Reject> {
    let mut changes = Changes::new();
    token.used = Some((signed.node, now));
    changes.put(&token);
    if let Some(mut node) = view.via::<Node>(Table::NodesByKey, signed.key.as_bytes())? {
        return match node.state {
            NodeState::Revoked { .. } | NodeState::Retired { .. } => Err(FleetRefusal::Revoked.into()),
            _ if node.id != signed.node => Err(FleetRefusal::Overtaken.into()),
            // It comes back with the key it had: an answer that was lost, or a certificate that has expired.
            _ => {
                node.certificate_next =
                    Some(IssuedCertificate { serial: signed.serial.clone(), expires: signed.expires });
                changes.put(&node);
                Ok((changes, (node.state == NodeState::Pending, node.name.to_string())))
            }
        };
    }
    let pool: Pool = view.must(&token.pool)?;
    let admitted = pool.auto_admit || token.local || token.admit;
    let node = Node {
        id: signed.node,
        name: free_name(view, token.name.as_ref(), &request.observed.hostname)?,
        pool: pool.id,
        owner: token.owner,
        key: signed.key,
        certificate_serial: signed.serial.clone(),
        certificate_expires: signed.expires,
        certificate_next: None,
        state: if admitted { NodeState::Admitted { since: now } } else { NodeState::Pending },
        duty: Duty::Open,
        observed: request.observed.clone(),
        epoch: 0,
        generation: 0,
        joined: now,
        local: token.local,
    };
    changes.put(&node);
    changes.index(Table::NodesByKey, signed.key.as_bytes(), &node.id);
    changes.index(Table::NodesByName, &node.name.key(), &node.id);
    let mut next = unit_ids.iter().copied();
    for unit in first_units(&node, &mut || next.next().expect("one id per GPU was made"), now) {
        put_unit(&mut changes, &unit);
    }
    changes.event(Cause::Node(node.id), Event::NodeJoined { node: node.id });
    if admitted {
        changes.event(Cause::Mill, Event::NodeAdmitted { node: node.id });
    }
    Ok((changes, (!admitted, node.name.to_string())))
}

/// Writes a unit and its index row.
pub(super) fn put_unit(changes: &mut Changes, unit: &Unit) {
    changes.put(unit);
    changes.index(Table::UnitsByNode, &(unit.node, unit.id), &unit.id);
}

/// The units of a node, in the order of its GPUs.
pub fn units_of(view: &impl Read, node: NodeId) -> Result<Vec<Unit>, crate::store::read::StoreError> {
    let order = crate::store::read::Order::Ascending;
    let mut units: Vec<Unit> = view.list_via(Table::UnitsByNode, &node.bytes(), order, usize::MAX)?;
    units.sort_by_key(|unit| (unit.index, unit.id));
    Ok(units)
}

/// The wished name or the host's, with a number when another node has it already.
fn free_name(view: &View<'_>, wish: Option<&Name>, hostname: &str) -> Result<Name, Reject> {
    let host = hostname.split('.').next().unwrap_or_default();
    let short: String = host.chars().filter(|c| !c.is_control()).take(Name::LIMIT - 6).collect();
    let base = wish.map_or(short, |name| name.as_str().chars().take(Name::LIMIT - 6).collect());
    let base = if base.trim().is_empty() { "node".to_owned() } else { base };
    for number in 1..10_000 {
        let text = if number == 1 { base.clone() } else { format!("{base}-{number}") };
        let Ok(name) = text.parse::<Name>() else { continue };
        if view.raw(Table::NodesByName, &name.key().bytes())?.is_none() {
            return Ok(name);
        }
    }
    Err(PeopleRefusal::NameTaken { field: "name" }.into())
}
