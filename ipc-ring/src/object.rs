//! Rings as objects of a segment: found, or made, and as they were asked for.

use ipc_core::{Error, ObjectInfo, ObjectKind, SegmentView};

/// Finds, or else makes; whoever loses the race to make it finds it.
pub(crate) fn find_or_make<R>(
    open: impl Fn() -> Result<R, Error>,
    create: impl Fn() -> Result<R, Error>,
) -> Result<R, Error> {
    match open() {
        Err(Error::ObjectNotFound { .. }) => match create() {
            Err(Error::ObjectExists { .. }) => open(),
            created => created,
        },
        found => found,
    }
}

/// That a ring that was found is as it was asked for: of what, how much was asked for, and how much was found.
pub(crate) fn check_asked<const N: usize>(name: &str, all: [(&'static str, u64, u64); N]) -> Result<(), Error> {
    for (what, asked, found) in all {
        if asked != found {
            let (expected, found) = (asked.to_string(), found.to_string());
            return Err(Error::ObjectMismatch { name: name.to_owned(), what, expected, found });
        }
    }
    Ok(())
}

/// The entry of that name, of an object that is only looked at.
pub(crate) fn entry(segment: &SegmentView, name: &str) -> Result<ObjectInfo, Error> {
    let found = segment.objects().into_iter().find(|info| info.name == name);
    found.ok_or_else(|| Error::ObjectNotFound { name: name.to_owned() })
}

/// What belongs to the one of several kinds that an object is of.
pub(crate) fn one_of<V>(
    info: &ObjectInfo,
    kinds: impl IntoIterator<Item = (ObjectKind, V)>,
    expected: &str,
) -> Result<V, Error> {
    kinds.into_iter().find(|(kind, _)| kind.code == info.kind).map(|(_, is)| is).ok_or_else(|| Error::ObjectMismatch {
        name: info.name.clone(),
        what: "kind",
        expected: expected.to_owned(),
        found: info.describe_kind(),
    })
}

/// `open`, `open_or_create` and `required_size` of a ring that is made from `Options`. Needs the field `geometry`, the constant `KIND`, and `create`, `check`, `geometry` and `payload_type`.
macro_rules! found_or_made {
    (impl [$($generics:tt)*] $ring:ty, other: $other:literal) => {
        impl $($generics)* $ring {
            /// Finds the ring of that name.
            ///
            /// # Errors
            ///
            /// Those of [`Segment::open_object`], and [`Error::Corrupted`] if its geometry contradicts itself.
            pub fn open(segment: &Segment, name: &str) -> Result<Self, Error> {
                Self::check(segment.open_object(name, Self::KIND, Self::payload_type())?)
            }

            /// Finds the ring of that name, or makes it.
            ///
            /// # Errors
            ///
            #[doc = concat!(
                "As [`create`](Self::create) and [`open`](Self::open), and [`Error::ObjectMismatch`] if it is there with another capacity or ",
                $other, "."
            )]
            pub fn open_or_create(segment: &Segment, name: &str, options: impl Into<Options>) -> Result<Self, Error> {
                let options = options.into();
                let ring = crate::object::find_or_make(|| Self::open(segment, name), || Self::create(segment, name, options))?;
                ring.geometry.check(options, name)?;
                Ok(ring)
            }

            fn make(segment: &Segment, name: &str, geometry: Geometry) -> Result<Self, Error> {
                let (payload, size, roles) = (Self::payload_type(), geometry.size, geometry.roles());
                let write = |region: &Region| geometry.write(region);
                Self::check(segment.create_object_with_roles(name, Self::KIND, payload, size, roles, write)?)
            }

            /// Bytes that such a ring takes in its segment; `None` if there is no such ring.
            pub fn required_size(options: impl Into<Options>) -> Option<u64> {
                Self::geometry(options.into()).map(|geometry| geometry.size)
            }
        }
    };
}

pub(crate) use found_or_made;
