//! Every call of a segment, attached to or only looked at.

use ipc_core::segment::PayloadType;
use ipc_core::slab::SlabView;
use ipc_core::{ObjectKind, Segment, SegmentView};
use ipc_ring::cell::{BlackboardView, CellView};
use ipc_ring::{Side, broadcast, lanes, ordered, spsc};

use crate::calls::Calls;
use crate::rng::Rng;

/// The kind of objects that are made in damaged segments.
const KIND: ObjectKind = ObjectKind { name: "object of a case", code: u64::from_le_bytes(*b"faultob\x01") };

/// Uses a segment that this process is attached to; `name` is an object's that stands in it, or stood in what it was made from. Its name may be gone then.
pub fn use_segment(segment: &Segment, name: &str, rng: &mut Rng, calls: &mut Calls<'_>) {
    use_objects(segment, name, rng, calls);
    if rng.one_in(8) {
        calls.call("Segment::durable", || segment.durable()?.flush());
        calls.outcome("Segment::is_linked", || segment.is_linked());
        calls.call("Segment::unlink_if_last", || segment.unlink_if_last());
        calls.call("Segment::unlink", || segment.unlink());
    }
}

/// As [`use_segment`], but its name stays.
pub fn use_objects(segment: &Segment, name: &str, rng: &mut Rng, calls: &mut Calls<'_>) {
    let objects = calls.outcome("Segment::objects", || segment.objects()).unwrap_or_default();
    let peers = calls.outcome("Segment::peers", || segment.peers().collect::<Vec<_>>()).unwrap_or_default();
    for peer in peers {
        calls.outcome("Segment::is_alive", || segment.is_alive(peer.id));
        calls.outcome("Segment::describe_peer", || segment.describe_peer(peer.id).to_string());
    }
    for info in objects.iter().take(8) {
        calls.outcome("Segment::describe_peer of a maker", || segment.describe_peer(info.maker).to_string());
    }
    for kind in objects.iter().map(|info| info.kind).chain([KIND.code]).take(4) {
        let kind = ObjectKind { name: "whatever it is", code: kind };
        let found = calls.call("Segment::open_object", || segment.open_object(name, kind, PayloadType::bytes()));
        if let Some(object) = found
            && object.region.len() >= 8
        {
            let at = rng.index(object.region.len() / 8) * 8;
            calls.outcome("Region::u64_at", || {
                object.region.u64_at(at).load(ipc_core::sync::Ordering::Relaxed);
            });
        }
    }
    let size = 1 + rng.index(3000) as u64;
    let made = calls.call("Segment::create_object", || {
        segment.create_object("made in a case", KIND, PayloadType::of::<u64>(), size, |region| {
            (0..region.len() / 8)
                .for_each(|word| region.u64_at(8 * word).store(u64::MAX, ipc_core::sync::Ordering::Relaxed));
        })
    });
    if let Some(object) = made {
        calls.check(object.region.len() as u64 == size, || {
            format!("an object of {size} bytes has {}", object.region.len())
        });
    }
    calls.outcome("Segment::size", || (segment.size(), segment.max_size(), segment.page_size()));
    if rng.one_in(4) {
        let more = segment.size().saturating_add(rng.index(3) as u64 * 4096);
        calls.call("Segment::grow", || segment.grow(more));
        calls.call("Segment::inherit", || segment.inherit().map(drop));
    }
}

/// Uses a segment that this process only looks at.
pub fn look(view: &SegmentView, rng: &mut Rng, calls: &mut Calls<'_>) {
    calls.outcome("SegmentView::size", || (view.size(), view.max_size(), view.created_ns(), view.id().to_string()));
    for peer in calls.outcome("SegmentView::peers", || view.peers().collect::<Vec<_>>()).unwrap_or_default() {
        calls.outcome("SegmentView::describe_peer", || view.describe_peer(peer.id).to_string());
    }
    for info in calls.outcome("SegmentView::objects", || view.objects()).unwrap_or_default() {
        let (name, kind) = (info.name.clone(), ObjectKind { name: "whatever it is", code: info.kind });
        calls.call("SegmentView::open_object", || view.open_object(&name, kind, PayloadType::bytes()).map(drop));
        let slab = calls.call("SlabView::open", || SlabView::open(view, &name));
        calls.outcome("SlabView::usage", || slab.map(|slab| (slab.usage(), slab.holdings())));
        look_at_object(view, &name, calls);
        let Some(object) = calls.call("SegmentView::view", || view.view(info)) else { continue };
        let mut bytes = [0; 64];
        let len = object.len().min(bytes.len());
        let at = rng.index(object.len() - len + 1);
        calls.outcome("ObjectView::read", || object.read(at, &mut bytes[..len]));
        if object.len() >= 8 {
            let at = rng.index(object.len() / 8) * 8;
            calls.outcome("ObjectView::load_u64", || object.load_u64(at));
        }
    }
}

/// Looks at an object as at each kind that can be looked at; it is refused if it is none.
fn look_at_object(view: &SegmentView, name: &str, calls: &mut Calls<'_>) {
    if let Some(ring) = calls.call("spsc::RingView::open", || spsc::RingView::open(view, name)) {
        calls.outcome("spsc::RingView::stats", || (ring.info().describe_kind(), ring.is_of_records(), ring.stats()));
        calls.outcome("spsc::RingView::side", || [Side::Producer, Side::Consumer].map(|side| ring.side(side)));
    }
    if let Some(ring) = calls.call("lanes::RingView::open", || lanes::RingView::open(view, name)) {
        calls.outcome("lanes::RingView::stats", || (ring.info().describe_kind(), ring.is_of_records(), ring.stats()));
        calls.outcome("lanes::RingView::consumers", || (ring.places(), ring.consumer_side(), ring.consumers()));
        let lanes = ring.lanes();
        for lane in [0, lanes - 1, lanes] {
            let look = || (ring.lane_stats(lane), ring.producer_side(lane));
            let seen = calls.outcome("lanes::RingView::lane_stats and producer_side", look);
            let there = lane < lanes;
            calls.check(seen.is_none_or(|(stats, side)| stats.is_some() == there && side.is_some() == there), || {
                format!("lane {lane} of {lanes} is there, or is not, in a view")
            });
        }
    }
    if let Some(ring) = calls.call("ordered::RingView::open", || ordered::RingView::open(view, name)) {
        calls.outcome("ordered::RingView::stats", || (ring.info().describe_kind(), ring.is_of_records(), ring.stats()));
        calls.outcome("ordered::RingView::consumer_side", || ring.consumer_side());
        let places = ring.places();
        for place in [0, places - 1, places] {
            let look = || (ring.producer_stats(place), ring.producer_side(place));
            calls.outcome("ordered::RingView::producer_stats and producer_side", look);
        }
    }
    if let Some(ring) = calls.call("broadcast::RingView::open", || broadcast::RingView::open(view, name)) {
        let look = || (ring.info().describe_kind(), ring.is_of_records(), ring.capacity(), ring.stats());
        calls.outcome("broadcast::RingView::stats", look);
        calls.outcome("broadcast::RingView::consumers", || (ring.places(), ring.producer_side(), ring.consumers()));
    }
    if let Some(cell) = calls.call("CellView::open", || CellView::open(view, name)) {
        calls.outcome("CellView::version", || (cell.info().describe_kind(), cell.version(), cell.writer_side()));
    }
    if let Some(board) = calls.call("BlackboardView::open", || BlackboardView::open(view, name)) {
        calls.outcome("BlackboardView::cells", || (board.info().describe_kind(), board.cells().count()));
    }
}
