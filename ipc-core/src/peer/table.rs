//! The table of peers in the segment, and the leases beside it.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::{Error, PeerDescription, Result};
use crate::map::{Mapping, Protection, ReadWrite};
use crate::os::{self, Lock};
use crate::peer::HeldRole;
use crate::peer::process::{self, Process};
use crate::sync::{self, AtomicBool, Ordering};

/// Bytes of one entry: a line, so that peers that come and go do not disturb each other.
pub(crate) const PEER_ENTRY_SIZE: usize = 64;

// Offsets in an entry; docs/FORMAT.md draws them.
const STATE: usize = 0;
const PID: usize = 8;
const START_TIME: usize = 16;
const PID_NAMESPACE: usize = 24;
const BOOT_ID: usize = 32;
const ATTACHED_AT: usize = 48;
const TIME_NAMESPACE: usize = 56;
const _: () = assert!(TIME_NAMESPACE + 8 <= PEER_ENTRY_SIZE && BOOT_ID + 16 <= ATTACHED_AT);

// The state word: generation above, what the entry is below.
const FREE: u64 = 0;
const CLAIMED: u64 = 1;
const LIVE: u64 = 2;
const GENERATION_SHIFT: u32 = 16;
const GENERATION_BITS: u32 = 46;

/// Bytes of the segment's file that are locked, never read: far beyond any contents.
pub(crate) mod lease_bytes {
    /// Shared while a peer attaches, exclusive while the segment's name is removed.
    pub(crate) const REMOVAL: u64 = 1 << 62;
    /// Exclusive while an object is created.
    pub(crate) const OBJECTS: u64 = REMOVAL + 1;
    /// Exclusive while what stands in the segment is put in order by one of its users.
    pub(crate) const REPAIR: u64 = REMOVAL + 2;
    /// One byte for each peer from here on.
    pub(crate) const PEERS: u64 = REMOVAL + 1024;
}

/// A peer's identity in one segment: the place in its table and how often that place was taken before. Never used
/// again in the life of the segment, unlike a pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerId(u64);

impl PeerId {
    fn new(generation: u64, index: usize) -> Self {
        Self(generation << GENERATION_SHIFT | index as u64)
    }

    /// The identity as it stands in shared memory: not zero, below 2^62.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// From the form in shared memory; any value is accepted, and one that names nobody is a peer that does not live.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << (GENERATION_BITS + GENERATION_SHIFT)) - 1))
    }

    fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT
    }

    fn index(self) -> usize {
        (self.0 & 0xFFFF) as usize
    }
}

impl std::fmt::Display for PeerId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.index(), self.generation())
    }
}

/// What the table says of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its identity.
    pub id: PeerId,
    /// Its pid in its own pid namespace: information, never identity.
    pub pid: u32,
    /// The inode that stands for its pid namespace.
    pub pid_namespace: u64,
    /// When it attached, by the machine's wall clock.
    pub attached_at: SystemTime,
    /// Whether the kernel says that it lives. One that is not was killed, and its place not yet taken again.
    pub alive: bool,
    /// The roles that it holds; those of a dead one, until another takes them back.
    pub roles: Vec<HeldRole>,
}

impl PeerInfo {
    /// With those of `held` that are its own.
    pub(crate) fn with_roles(mut self, held: &[HeldRole]) -> Self {
        let own = held.iter().filter(|role| role.holder == self.id).cloned();
        // The holder's first moments: its predecessor's claim is noted still.
        self.roles = own.map(|role| HeldRole { since: role.since.max(self.attached_at), ..role }).collect();
        self
    }
}

/// This process's view of the table, and its own lease.
#[derive(Debug)]
pub(crate) struct PeerTable {
    map: Arc<Mapping>,
    offset: usize,
    slots: usize,
    /// The description on which our lease stands.
    lease: File,
    me: PeerId,
    process: Process,
    detached: AtomicBool,
}

impl PeerTable {
    /// Takes a free place and its lease. `lease` must be a description of the segment's file that no other process has.
    ///
    /// If the process dies anywhere in here, the kernel frees the lock, and the place can be taken again.
    pub(crate) fn attach(map: Arc<Mapping>, offset: usize, slots: usize, lease: File) -> Result<Self> {
        let process = process::current()?;
        for index in 0..slots {
            let locked = os::try_lock(&lease, lease_bytes::PEERS + index as u64, Lock::Exclusive);
            if !locked.map_err(|source| Error::system("fcntl(F_OFD_SETLK)", None, source))? {
                continue;
            }
            let entry = offset + index * PEER_ENTRY_SIZE;
            let state = map.u64_at(entry + STATE);
            // The lock makes us the only writer; a hostile value costs uniqueness, nothing else.
            let before = PeerId::from_bits(state.load(Ordering::Relaxed)).generation();
            let generation = (before + 1) & ((1 << GENERATION_BITS) - 1);
            let me = PeerId::new(generation.max(1), index);
            // From here on what the previous holder left elsewhere names a peer that is gone.
            state.store(me.generation() << GENERATION_SHIFT | CLAIMED, Ordering::Relaxed);
            // Before the fields below: `info` does not mix them with those of the one before.
            crate::sync::unmodelled::fence(Ordering::Release);
            let boot = os::boot_id().unwrap_or_default();
            let origin = process.origin();
            for (at, value) in [
                (PID, u64::from(std::process::id())),
                (START_TIME, origin.start_time),
                (PID_NAMESPACE, origin.pid_namespace),
                (TIME_NAMESPACE, origin.time_namespace),
            ] {
                map.u64_at(entry + at).store(value, Ordering::Relaxed);
            }
            for (word, half) in boot.as_chunks().0.iter().enumerate() {
                map.u64_at(entry + BOOT_ID + 8 * word).store(u64::from_le_bytes(*half), Ordering::Relaxed);
            }
            map.u64_at(entry + ATTACHED_AT).store(os::unix_nanos(), Ordering::Relaxed);
            // Pairs with the Acquire load in `info`: who sees LIVE sees the fields above.
            state.store(me.generation() << GENERATION_SHIFT | LIVE, Ordering::Release);
            let detached = AtomicBool::new(false);
            return Ok(Self { map, offset, slots, lease, me, process, detached });
        }
        Err(Error::TooManyPeers { slots })
    }

    /// Gives up place and lease, once: by the second time they may be another's. Not called in a fork child, whose parent holds them.
    pub(crate) fn detach(&self) {
        if self.detached.swap(true, Ordering::Relaxed) {
            return;
        }
        let state = self.map.u64_at(self.entry(self.me.index()) + STATE);
        state.store(self.me.generation() << GENERATION_SHIFT | FREE, Ordering::Release);
        // Said explicitly, since a forked child may hold the description open. It cannot fail for a valid descriptor.
        let _ = os::unlock(&self.lease, lease_bytes::PEERS + self.me.index() as u64);
    }

    pub(crate) fn me(&self) -> PeerId {
        self.me
    }

    pub(crate) fn lease(&self) -> &File {
        &self.lease
    }

    fn entry(&self, index: usize) -> usize {
        self.offset + index * PEER_ENTRY_SIZE
    }

    fn entries(&self) -> Entries<'_, ReadWrite> {
        Entries { map: &self.map, offset: self.offset, slots: self.slots, file: &self.lease }
    }

    /// Whether the peer lives. Asks the kernel: a few system calls.
    pub(crate) fn is_alive(&self, id: PeerId) -> bool {
        if let Some(life) = sync::modelled_life(id.to_bits()) {
            return life;
        }
        // Our own lease stands on the description that we ask through, so it is never seen as another's.
        let ours = id == self.me;
        if ours && self.process.is_current() {
            return true;
        }
        self.entries().is_alive(id, ours)
    }

    pub(crate) fn describe(&self, id: PeerId) -> PeerDescription {
        self.entries().describe(id)
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerInfo> + '_ {
        let infos = (0..self.slots).filter_map(|index| self.entries().info(index));
        infos.map(|(info, _)| PeerInfo { alive: self.is_alive(info.id), ..info })
    }
}

/// A view of the table through any mapping, and any description, of the segment's file: nothing here writes.
#[derive(Debug)]
pub(crate) struct Entries<'a, P: Protection> {
    pub(crate) map: &'a Mapping<P>,
    pub(crate) offset: usize,
    pub(crate) slots: usize,
    /// Through which the locks are asked after.
    pub(crate) file: &'a File,
}

impl<P: Protection> Entries<'_, P> {
    /// What the entry says, if it names a peer; a consistent copy or nothing.
    fn info(&self, index: usize) -> Option<(PeerInfo, Origin)> {
        let entry = self.offset + index * PEER_ENTRY_SIZE;
        let word = |offset| self.map.load_u64(entry + offset);
        // Pairs with the Release store of LIVE.
        let before = word(STATE);
        if before & 0xFFFF != LIVE {
            return None;
        }
        let pid = u32::try_from(word(PID)).unwrap_or(0);
        let pid_namespace = word(PID_NAMESPACE);
        let boot = u128::from(word(BOOT_ID)) | u128::from(word(BOOT_ID + 8)) << 64;
        let origin =
            Origin { start_time: word(START_TIME), time_namespace: word(TIME_NAMESPACE), boot: boot.to_le_bytes() };
        let attached_at = SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_nanos(word(ATTACHED_AT)))
            .unwrap_or(SystemTime::UNIX_EPOCH);
        // The fields were read before this load, and their writer changes the state first.
        if word(STATE) != before {
            return None;
        }
        let id = PeerId::new(PeerId::from_bits(before).generation(), index);
        Some((PeerInfo { id, pid, pid_namespace, attached_at, alive: false, roles: Vec::new() }, origin))
    }

    /// Whether the peer lives; `locked` if its lock is known to be held.
    pub(crate) fn is_alive(&self, id: PeerId, locked: bool) -> bool {
        if id.index() >= self.slots {
            return false;
        }
        let byte = lease_bytes::PEERS + id.index() as u64;
        // An error cannot be had from a valid descriptor; if it is, nobody is declared dead by it.
        if !locked && !os::is_locked_by_another(self.file, byte).unwrap_or(true) {
            return false;
        }
        let is_its_own = || {
            let state = self.map.load_u64(self.offset + id.index() * PEER_ENTRY_SIZE + STATE);
            PeerId::from_bits(state).generation() == id.generation()
        };
        if !is_its_own() {
            return false;
        }
        // Somebody holds the lock: the peer itself, a forked child that outlived it, or the next one in its place.
        let lives = match self.info(id.index()) {
            Some((info, origin)) if info.id == id => origin.process_lives(&info),
            _ => true,
        };
        // The next one may have come while we looked: then it was not the peer that was found alive. Storms of kills met a role that a dead one was said to hold.
        lives && is_its_own()
    }

    pub(crate) fn describe(&self, id: PeerId) -> PeerDescription {
        let pid = self
            .info(id.index().min(self.slots.saturating_sub(1)))
            .filter(|(info, _)| info.id == id)
            .map_or(0, |(info, _)| info.pid);
        PeerDescription { id, pid }
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerInfo> + '_ {
        let infos = (0..self.slots).filter_map(|index| self.info(index));
        infos.map(|(info, _)| PeerInfo { alive: self.is_alive(info.id, false), ..info })
    }
}

/// What tells a process from others that have, or had, its pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin {
    start_time: u64,
    /// Start times are told by the clock of the reader's time namespace.
    time_namespace: u64,
    boot: [u8; 16],
}

impl Origin {
    /// Whether the process still runs, as far as its pid can tell that from here: in doubt it does, and the lock alone speaks.
    fn process_lives(&self, info: &PeerInfo) -> bool {
        let same = |theirs: u64, kind| theirs != 0 && theirs == os::namespace(kind);
        if os::boot_id() != Some(self.boot) || !same(info.pid_namespace, "pid") {
            return true;
        }
        if !os::pid_exists(info.pid) {
            return false;
        }
        // /proc may be another namespace's, or hidden from us (hidepid).
        if !os::proc_is_ours() {
            return true;
        }
        let Some(stat) = os::process_stat(info.pid) else { return true };
        if same(self.time_namespace, "time") && self.start_time != 0 && stat.start_time != self.start_time {
            return false;
        }
        // A zombie is dead, unless it is the remains of a main thread whose others go on.
        !(matches!(stat.state, 'Z' | 'X') && stat.threads.is_none_or(|threads| threads <= 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table_on(file: &File, slots: usize) -> Result<PeerTable> {
        let map = Arc::new(Mapping::shared_file(file, 0, 4096).unwrap());
        PeerTable::attach(map, 0, slots, os::reopen(file).unwrap().into())
    }

    fn file() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        file
    }

    #[test]
    fn peers_see_each_other_come_and_go() {
        let file = file();
        let one = table_on(&file, 4).unwrap();
        let two = table_on(&file, 4).unwrap();
        assert_ne!(one.me(), two.me());
        assert!(one.is_alive(two.me()) && two.is_alive(one.me()));
        assert_eq!(one.peers().filter(|peer| peer.alive && peer.pid == std::process::id()).count(), 2);
        let gone = two.me();
        two.detach();
        drop(two);
        assert!(!one.is_alive(gone));
        let three = table_on(&file, 4).unwrap();
        assert_eq!(three.me().index(), gone.index());
        assert!(!one.is_alive(gone) && one.is_alive(three.me()), "a place taken again is another peer");
    }

    #[test]
    fn a_lease_that_vanishes_without_a_word_is_a_death() {
        let file = file();
        let one = table_on(&file, 2).unwrap();
        let two = table_on(&file, 2).unwrap();
        let gone = two.me();
        drop(two); // closes the description, as the kernel does at SIGKILL; the entry still says that it lives
        assert!(!one.is_alive(gone));
        assert_eq!(one.peers().map(|peer| peer.alive).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn a_full_table_is_an_error() {
        let file = file();
        let _held: Vec<_> = (0..2).map(|_| table_on(&file, 2).unwrap()).collect();
        assert!(matches!(table_on(&file, 2), Err(Error::TooManyPeers { slots: 2 })));
    }

    #[test]
    fn another_start_time_is_another_process_if_the_clock_is_the_same() {
        let file = file();
        let table = table_on(&file, 2).unwrap();
        let (info, origin) = table.entries().info(table.me().index()).unwrap();
        assert!(origin.process_lives(&info));
        let other = Origin { start_time: origin.start_time + 1, ..origin };
        assert!(!other.process_lives(&info));
        // What another clock, another namespace or another boot says cannot be compared: in doubt it lives.
        assert!(Origin { time_namespace: 1, ..other }.process_lives(&info));
        assert!(Origin { time_namespace: 0, ..other }.process_lives(&info));
        assert!(Origin { boot: [1; 16], ..other }.process_lives(&info));
        assert!(Origin { boot: [0; 16], ..other }.process_lives(&info));
        assert!(other.process_lives(&PeerInfo { pid_namespace: 0, ..info.clone() }));
        assert!(!origin.process_lives(&PeerInfo { pid: 0x3fff_ffff, ..info.clone() }), "no such pid");
    }

    #[test]
    fn any_bits_are_some_peer_and_garbage_does_not_live() {
        let file = file();
        let table = table_on(&file, 2).unwrap();
        for bits in [1, 0xFFFF, u64::MAX, 1 << 20, 0x0003_0001] {
            assert!(!table.is_alive(PeerId::from_bits(bits)), "{bits:#x}");
            let _ = table.describe(PeerId::from_bits(bits));
        }
    }
}
