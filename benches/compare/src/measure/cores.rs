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

/// The core of each actor: the first has one of its own, the others share the rest.
pub(crate) fn core_of(actor: usize, cores: &[usize]) -> Option<usize> {
    match (actor, cores) {
        (_, []) => None,
        (0, [first, ..]) | (_, [first]) => Some(*first),
        (_, [_, rest @ ..]) => rest.get((actor - 1) % rest.len()).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::core_of;

    #[test]
    fn the_first_actor_is_alone_if_it_can_be() {
        let cores: Vec<_> = (0..5).map(|actor| core_of(actor, &[3, 5, 7])).collect();
        assert_eq!(cores, [Some(3), Some(5), Some(7), Some(5), Some(7)]);
        assert_eq!(core_of(1, &[3]), Some(3));
        assert_eq!(core_of(1, &[]), None);
    }
}
