//! provisional
use ipc_core::{Payload, Segment};
use ipc_ring::spsc::{RecordRing, Ring};

use crate::calls::Calls;
use crate::everything::{use_records, use_slots};
use crate::rng::Rng;

/// Why something could not be tried.
pub type Failure = Box<dyn std::error::Error>;

/// A structure that is under test.
pub trait Structure: Sync {
    /// Its name in reports.
    fn name(&self) -> &'static str;
    /// Bytes that it takes in a segment.
    fn room(&self) -> u64;
    /// Makes one.
    fn make(&self, segment: &Segment, name: &str) -> Result<(), Failure>;
    /// Makes every call that there is.
    fn try_all(&self, segment: &Segment, name: &str, rng: &mut Rng, calls: &mut Calls<'_>);
}

struct Slots<T>(&'static str, usize, std::marker::PhantomData<fn() -> T>);
impl<T: Payload> Structure for Slots<T> {
    fn name(&self) -> &'static str {
        self.0
    }
    fn room(&self) -> u64 {
        Ring::<T>::required_size(self.1).unwrap_or(0)
    }
    fn make(&self, segment: &Segment, name: &str) -> Result<(), Failure> {
        Ring::<T>::create(segment, name, self.1)?;
        Ok(())
    }
    fn try_all(&self, segment: &Segment, name: &str, rng: &mut Rng, calls: &mut Calls<'_>) {
        use_slots::<T>(segment, name, rng, calls);
    }
}
struct Records(usize);
impl Structure for Records {
    fn name(&self) -> &'static str {
        "spsc records"
    }
    fn room(&self) -> u64 {
        RecordRing::required_size(self.0).unwrap_or(0)
    }
    fn make(&self, segment: &Segment, name: &str) -> Result<(), Failure> {
        RecordRing::create(segment, name, self.0)?;
        Ok(())
    }
    fn try_all(&self, segment: &Segment, name: &str, rng: &mut Rng, calls: &mut Calls<'_>) {
        use_records(segment, name, rng, calls);
    }
}
/// All.
pub fn all() -> Vec<Box<dyn Structure>> {
    vec![
        Box::new(Slots::<u64>("spsc u64", 20, std::marker::PhantomData)),
        Box::new(Slots::<[u8; 5]>("spsc [u8; 5]", 40, std::marker::PhantomData)),
        Box::new(Slots::<u128>("spsc u128", 7, std::marker::PhantomData)),
        Box::new(Slots::<[u8; 300]>("spsc [u8; 300]", 6, std::marker::PhantomData)),
        Box::new(Records(700)),
        Box::new(Records(64)),
    ]
}
