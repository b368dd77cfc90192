//! What passed over a GPU's NVLinks since the driver was loaded. The wrapper asks for fields without their scope, which for
//! these names the link, so they are asked for here. It refuses to add up less than all links that are there.
use nvml_wrapper::{Device, Nvml};

/// Links that a GPU has at most (nvml.h).
const LINKS: u32 = 18;
/// Fields of one link: what it sent and received, in KiB, protocol overhead left out.
const SENT: u32 = 138;
const RECEIVED: u32 = 139;
const OK: u32 = 0;
const KIB: u64 = 1024;

/// `nvmlFieldValue_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct FieldValue {
    field: u32,
    scope: u32,
    at: i64,
    latency: i64,
    kind: u32,
    status: u32,
    value: Value,
}

#[repr(C)]
#[derive(Clone, Copy)]
union Value {
    double: f64,
    word: u32,
    long: u64,
}

/// `nvmlValueType_t`: the two whole numbers without a sign that such a counter may be.
const WORD: u32 = 1;
const LONGS: [u32; 2] = [2, 3];

impl FieldValue {
    const fn asking(field: u32, link: u32) -> Self {
        Self { field, scope: link, at: 0, latency: 0, kind: 0, status: u32::MAX, value: Value { long: 0 } }
    }

    #[allow(unsafe_code)]
    fn answer(&self) -> Option<u64> {
        // SAFETY: every member of the union is plain bits, all of which were set to zero before the driver wrote the
        // one that `kind` names.
        match self.kind {
            WORD => Some(u64::from(unsafe { self.value.word })),
            kind if LONGS.contains(&kind) => Some(unsafe { self.value.long }),
            _ => None,
        }
        .filter(|_| self.status == OK)
    }
}

/// Bytes sent and received over all links; `None` where there are none or the driver does not say.
#[allow(unsafe_code)]
pub(super) fn bytes(nvml: &Nvml, device: &Device<'_>) -> Option<(u64, u64)> {
    let ask = nvml.lib().nvmlDeviceGetFieldValues.as_ref().ok()?;
    let mut values: Vec<FieldValue> =
        (0..LINKS).flat_map(|link| [FieldValue::asking(SENT, link), FieldValue::asking(RECEIVED, link)]).collect();
    let count = i32::try_from(values.len()).unwrap_or(0);
    // SAFETY: the handle is of this library, and `values` are as many of the driver's structures as it is told.
    let status = unsafe { ask(device.handle(), count, values.as_mut_ptr().cast()) };
    (status == OK).then(|| sum(&values))?
}

/// Links that are not there answer nothing; one that answers half of it spoils the whole.
fn sum(values: &[FieldValue]) -> Option<(u64, u64)> {
    let mut total = None;
    for link in values.chunks_exact(2) {
        match (link[0].answer(), link[1].answer()) {
            (None, None) => {}
            (Some(sent), Some(received)) => {
                let (all_sent, all_received) = total.unwrap_or((0_u64, 0_u64));
                total = Some((
                    all_sent.saturating_add(sent.saturating_mul(KIB)),
                    all_received.saturating_add(received.saturating_mul(KIB)),
                ));
            }
            _ => return None,
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: u32, status: u32, long: u64) -> FieldValue {
        FieldValue { kind, status, value: Value { long }, ..FieldValue::asking(SENT, 0) }
    }

    #[test]
    fn links_add_up_and_none_is_not_zero() {
        let missing = said(0, 3, 0);
        assert_eq!(sum(&[missing, missing]), None);
        assert_eq!(sum(&[said(3, OK, 5), said(1, OK, 2), missing, missing]), Some((5 * KIB, 2 * KIB)));
        assert_eq!(sum(&[said(3, OK, 5), said(3, OK, 2), said(3, OK, 1), missing]), None, "half a link");
        assert_eq!(sum(&[said(3, OK, 0), said(3, OK, 0)]), Some((0, 0)));
    }
}
