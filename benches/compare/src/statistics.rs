//! Which samples count, and what they come to.

use serde::{Deserialize, Serialize};

/// The middle one of some figures, or the mean of the middle two; 0 if there are none. Sorts them.
pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures {
        [] => 0.0,
        _ if figures.len() % 2 == 1 => figures[figures.len() / 2],
        _ => f64::midpoint(figures[figures.len() / 2 - 1], figures[figures.len() / 2]),
    }
}

/// Two probes this near to each other found the cores at the same distance.
pub(crate) const SAME_PLACEMENT: f64 = 1.2;

/// Whether the probes before and after a sample agree.
pub(crate) fn agree(probes: [f64; 2]) -> bool {
    let [low, high] = if probes[0] <= probes[1] { probes } else { [probes[1], probes[0]] };
    low > 0.0 && high <= low * SAME_PLACEMENT
}

/// How far apart the two cores are, by the time that two bounced cache lines take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Placement {
    /// Up to 150 ns.
    Near,
    /// Up to 350 ns.
    Mid,
    /// Above.
    Far,
}

impl Placement {
    pub(crate) const ALL: [Self; 3] = [Self::Near, Self::Mid, Self::Far];
    /// Where near ends, and where mid does, in nanoseconds.
    pub(crate) const BOUNDS: [f64; 2] = [150.0, 350.0];

    pub(crate) fn of(probes: [f64; 2]) -> Self {
        match f64::midpoint(probes[0], probes[1]) {
            probe if probe <= Self::BOUNDS[0] => Self::Near,
            probe if probe <= Self::BOUNDS[1] => Self::Mid,
            _ => Self::Far,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Mid => "mid",
            Self::Far => "far",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_figure() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut []), 0.0);
    }

    #[test]
    fn probes_that_disagree_are_told() {
        assert!(agree([100.0, 119.0]) && agree([119.0, 100.0]) && agree([100.0, 100.0]));
        assert!(!agree([100.0, 121.0]) && !agree([121.0, 100.0]));
        assert!(!agree([0.0, 0.0]));
    }

    #[test]
    fn classes_by_the_mean_of_the_probes() {
        assert_eq!(Placement::of([100.0, 110.0]), Placement::Near);
        assert_eq!(Placement::of([150.0, 150.0]), Placement::Near);
        assert_eq!(Placement::of([150.0, 151.0]), Placement::Mid);
        assert_eq!(Placement::of([340.0, 370.0]), Placement::Far);
    }
}
