//! Who holds which roles of an object: where the words stand, and a list of them for whoever looks.

use std::time::{Duration, SystemTime};

use crate::map::{Mapping, Protection};
use crate::peer::{PeerId, RoleState};
use crate::segment::Region;
use crate::sync::Ordering;

/// Bytes of one role in a [`RoleTable`], at least.
pub const ROLE_ENTRY_SIZE: usize = 40;

/// The most entries of a [`RoleTable`].
pub const MAX_ROLES: u32 = 1 << 14;

/// The most held roles of a segment that are listed, whatever its directory says.
pub(crate) const MAX_LISTED: usize = 1 << 16;

// Offsets in an entry; docs/FORMAT.md draws them. The words between are the object's own.
const WORD: usize = 0;
const NAME: usize = 24;
const CLAIMED_AT: usize = 32;
const _: () = assert!(CLAIMED_AT + 8 <= ROLE_ENTRY_SIZE);

/// Where roles of an object stand: entries of at least [`ROLE_ENTRY_SIZE`] bytes at equal distances, so that anyone can list their holders without
/// knowing what the object is.
///
/// An entry begins with the role's word; the words at 8 and 16 belong to the object; at 24 stands the role's name, at 32 since when it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleTable {
    /// Where the first entry begins in the object: a multiple of 8.
    pub offset: u64,
    /// From one entry to the next, in bytes: a multiple of 8.
    pub stride: u64,
    /// How many there are; at most [`MAX_ROLES`].
    pub count: u32,
}

/// The roles of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Those that every object of the kind has.
    pub own: RoleTable,
    /// Those of which it has as many as it was made with.
    pub places: RoleTable,
}

// How the tables stand in the directory: the first in one word, the second in two.
const OWN_OFFSET_BITS: u32 = 32;
const OWN_STRIDE_BITS: u32 = 16;
const STRIDE_BITS: u32 = 40;

impl Roles {
    /// An object without roles.
    pub const NONE: Self = Self { own: RoleTable::NONE, places: RoleTable::NONE };

    /// An object whose roles are all of one table.
    pub const fn own(own: RoleTable) -> Self {
        Self { own, places: RoleTable::NONE }
    }

    pub(crate) fn to_words(self) -> [u64; 3] {
        let Self { own, places } = self;
        [
            own.offset | own.stride << OWN_OFFSET_BITS | u64::from(own.count) << (OWN_OFFSET_BITS + OWN_STRIDE_BITS),
            places.offset,
            places.stride | u64::from(places.count) << STRIDE_BITS,
        ]
    }

    pub(crate) fn from_words([own, offset, place]: [u64; 3]) -> Self {
        let low = |word: u64, bits: u32| word & ((1 << bits) - 1);
        Self {
            own: RoleTable {
                offset: low(own, OWN_OFFSET_BITS),
                stride: low(own >> OWN_OFFSET_BITS, OWN_STRIDE_BITS),
                count: (own >> (OWN_OFFSET_BITS + OWN_STRIDE_BITS)) as u32,
            },
            places: RoleTable { offset, stride: low(place, STRIDE_BITS), count: (place >> STRIDE_BITS) as u32 },
        }
    }

    /// Whether the directory can hold them: an object that is laid out otherwise is a mistake of whoever brings its kind.
    pub(crate) fn can_be_kept(&self) -> bool {
        Self::from_words(self.to_words()) == *self && self.own.count.max(self.places.count) <= MAX_ROLES
    }

    pub(crate) fn holders<P: Protection>(
        self,
        map: &Mapping<P>,
        object: u64,
        size: u64,
    ) -> impl Iterator<Item = (String, PeerId, u64)> {
        [self.own, self.places].into_iter().flat_map(move |table| table.holders(map, object, size))
    }
}

impl RoleTable {
    /// An object without roles.
    pub const NONE: Self = Self { offset: 0, stride: 0, count: 0 };

    /// Writes the name of one role: to be called while the object is being made. Eight bytes of it are kept.
    ///
    /// # Panics
    ///
    /// If the table is not inside the region.
    pub fn name(&self, region: &Region, index: u32, name: &str) {
        let mut bytes = [0; 8];
        let len = name.len().min(bytes.len());
        bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
        region.u64_at(self.entry(index) + NAME).store(u64::from_le_bytes(bytes), Ordering::Relaxed);
    }

    /// Notes that this process has just claimed a role: since when, for [`peers`](crate::Segment::peers). Called by who has claimed it; one that dies before it
    /// is listed as holding the role since it attached.
    ///
    /// # Panics
    ///
    /// If the table is not inside the region.
    pub fn note_claim(&self, region: &Region, index: u32) {
        region.u64_at(self.entry(index) + CLAIMED_AT).store(crate::os::unix_nanos(), Ordering::Relaxed);
    }

    fn entry(&self, index: u32) -> usize {
        (self.offset + self.stride * u64::from(index)) as usize
    }

    /// Whether all entries lie in an object of `size` bytes, aligned and apart, and are no more than there can be: an object may be as large as memory.
    fn fits(&self, size: u64) -> bool {
        let aligned = self.offset.is_multiple_of(8) && self.stride.is_multiple_of(8);
        let apart = self.count <= 1 || self.stride >= ROLE_ENTRY_SIZE as u64;
        let last = self.stride.checked_mul(u64::from(self.count.saturating_sub(1)));
        let end = last.and_then(|last| last.checked_add(self.offset)?.checked_add(ROLE_ENTRY_SIZE as u64));
        self.count <= MAX_ROLES && aligned && apart && end.is_some_and(|end| end <= size)
    }

    /// Who holds which of them, as (role, holder, nanoseconds of the claim): nothing if the table cannot be right.
    fn holders<P: Protection>(
        self,
        map: &Mapping<P>,
        object: u64,
        size: u64,
    ) -> impl Iterator<Item = (String, PeerId, u64)> {
        let count = if self.fits(size) && map.contains(object as usize, size as usize) { self.count } else { 0 };
        (0..count).filter_map(move |index| {
            let at = object as usize + self.entry(index);
            let RoleState::Held(holder) = RoleState::from_bits(map.load_u64(at + WORD)) else { return None };
            let claimed = map.load_u64(at + CLAIMED_AT);
            // Another holder by now: the time may be its own.
            if RoleState::from_bits(map.load_u64(at + WORD)) != RoleState::Held(holder) {
                return None;
            }
            let name = map.load_u64(at + NAME).to_le_bytes();
            let len = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            Some((String::from_utf8_lossy(&name[..len]).into_owned(), holder, claimed))
        })
    }
}

/// A role that a peer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldRole {
    /// The object's name.
    pub object: String,
    /// Which role, such as "producer".
    pub role: String,
    /// Who holds it; whether it lives, the table of peers says.
    pub holder: PeerId,
    /// Since when, by the machine's wall clock. If the holder was killed right after the claim, since it attached, or since its predecessor's claim.
    pub since: SystemTime,
}

impl HeldRole {
    pub(crate) fn new(object: String, (role, holder, claimed): (String, PeerId, u64)) -> Self {
        let since = SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(claimed)).unwrap_or(SystemTime::UNIX_EPOCH);
        Self { object, role, holder, since }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bits_are_a_table_and_only_those_that_fit_are_read() {
        let table = RoleTable { offset: 128, stride: 128, count: 2 };
        let lanes = RoleTable { offset: 4096, stride: 1 << 33, count: 1024 };
        for roles in [Roles::NONE, Roles::own(table), Roles { own: table, places: lanes }] {
            assert_eq!(Roles::from_words(roles.to_words()), roles);
            assert!(roles.can_be_kept());
        }
        assert!(!Roles::own(lanes).can_be_kept());
        assert!(table.fits(128 + 128 + 40) && !table.fits(128 + 128 + 39));
        assert!(RoleTable::NONE.fits(40));
        for words in [[u64::MAX; 3], [1; 3], [2 << 48 | 7 << 32, 0, 2 << 40 | 7], [2 << 48 | 8 << 32, 0, 2 << 40 | 8]] {
            let roles = Roles::from_words(words);
            assert!(!roles.own.fits(1 << 20) && !roles.places.fits(1 << 20), "{words:x?}");
        }
        let many = RoleTable { offset: 0, stride: 40, count: MAX_ROLES };
        assert!(many.fits(1 << 30) && Roles::own(many).can_be_kept());
        let more = RoleTable { count: MAX_ROLES + 1, ..many };
        assert!(!more.fits(1 << 30) && !Roles::own(more).can_be_kept());
    }
}
