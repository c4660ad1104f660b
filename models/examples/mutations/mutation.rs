//! What a mutation is, and what is expected of it.

use crate::Outcome;

/// One change to one file.
pub(crate) struct Mutation {
    pub(crate) name: &'static str,
    /// From the workspace's root.
    pub(crate) file: &'static str,
    pub(crate) edits: &'static [Edit],
    pub(crate) expected: Expected,
}

/// What stands in the file exactly once, inside one function, and what in its place.
pub(crate) type Edit = (&'static str, &'static str);

pub(crate) enum Expected {
    /// A part of the name of the models that fail.
    CaughtBy(&'static str),
    /// Why none does.
    ByNone(&'static str),
}
pub(crate) use Expected::{ByNone, CaughtBy};

impl Expected {
    pub(crate) fn models(&self) -> Option<&'static str> {
        match self {
            CaughtBy(models) => Some(models),
            ByNone(_) => None,
        }
    }
}

/// The mutations of one structure.
pub(crate) struct List {
    pub(crate) name: &'static str,
    /// Parts of the names of its models.
    pub(crate) models: &'static [&'static str],
    /// Orderings and fences, which loom alone can tell from weaker ones.
    pub(crate) orderings: &'static [Mutation],
    /// Steps whose order, or whose being there at all, the proofs rely on.
    pub(crate) steps: &'static [Mutation],
}

impl List {
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Mutation> {
        self.orderings.iter().chain(self.steps)
    }
}

pub(crate) const fn mutation(
    name: &'static str,
    file: &'static str,
    edits: &'static [Edit],
    expected: Expected,
) -> Mutation {
    Mutation { name, file, edits, expected }
}

/// Where in the file the text of an edit stands.
pub(crate) fn place_of(source: &str, mutation: &Mutation, edit: &Edit) -> Outcome<std::ops::Range<usize>> {
    let mut places = source.match_indices(edit.0);
    match (places.next(), places.count()) {
        (Some((at, found)), 0) => Ok(at..at + found.len()),
        (first, more) => {
            let places = usize::from(first.is_some()) + more;
            Err(format!("{}: {places} places in {}", mutation.name, mutation.file).into())
        }
    }
}
