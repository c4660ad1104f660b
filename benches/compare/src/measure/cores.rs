//! Which core an actor runs on.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The cores that this process may use.
pub(crate) fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect()
}

/// Keeps the calling thread on one core. Whether that worked.
pub(crate) fn pin(core: usize) -> bool {
    let mut set = CpuSet::new();
    set.set(core).is_ok() && sched_setaffinity(Pid::from_raw(0), &set).is_ok()
}

/// Which actors have a core of their own, where there are fewer cores than actors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The first; the others share the rest.
    FirstAlone,
    /// None: they are dealt out in turn.
    InTurn,
}

impl Layout {
    /// The core of each actor.
    pub(crate) fn core_of(self, actor: usize, cores: &[usize]) -> Option<usize> {
        match (self, actor, cores) {
            (_, _, []) => None,
            (Self::InTurn, _, _) => cores.get(actor % cores.len()).copied(),
            (_, 0, [first, ..]) | (_, _, [first]) => Some(*first),
            (_, _, [_, rest @ ..]) => rest.get((actor - 1) % rest.len()).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Layout::{FirstAlone, InTurn};

    #[test]
    fn the_first_actor_is_alone_if_it_can_be() {
        let cores: Vec<_> = (0..5).map(|actor| FirstAlone.core_of(actor, &[3, 5, 7])).collect();
        assert_eq!(cores, [Some(3), Some(5), Some(7), Some(5), Some(7)]);
        assert_eq!(FirstAlone.core_of(1, &[3]), Some(3));
        assert_eq!(FirstAlone.core_of(1, &[]), None);
    }

    #[test]
    fn all_in_turn() {
        let cores: Vec<_> = (0..3).map(|actor| InTurn.core_of(actor, &[3, 5])).collect();
        assert_eq!(cores, [Some(3), Some(5), Some(3)]);
        assert_eq!(InTurn.core_of(1, &[]), None);
    }
}
