//! An order book that is its journal: `cargo run --release -p ipc-ring --example order_book -- [DIRECTORY]`.
//!
//! A process takes orders and appends what happens to a journal, each event durable before it counts. It is killed in the middle. Another process recovers the
//! journal, replays it, and has the same book: as far as the dead one had told anybody, and no event torn.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ipc_core::Segment;
use ipc_ring::journal::{Acknowledge, Journal, JournalError, JournalOptions};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What happened: 24 bytes in the journal.
#[derive(Debug, Clone, Copy)]
enum Event {
    Placed { order: u64, price: u32, amount: u32 },
    Filled { order: u64, amount: u32 },
    Cancelled { order: u64 },
}

impl Event {
    fn encode(self) -> [u8; 24] {
        let (kind, order, price, amount) = match self {
            Self::Placed { order, price, amount } => (1_u64, order, price, amount),
            Self::Filled { order, amount } => (2, order, 0, amount),
            Self::Cancelled { order } => (3, order, 0, 0),
        };
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&kind.to_le_bytes());
        bytes[8..16].copy_from_slice(&order.to_le_bytes());
        bytes[16..20].copy_from_slice(&price.to_le_bytes());
        bytes[20..].copy_from_slice(&amount.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (words, _) = bytes.as_chunks::<8>();
        let [kind, order, rest] = words else { return None };
        let (order, rest) = (u64::from_le_bytes(*order), u64::from_le_bytes(*rest));
        let (price, amount) = (rest as u32, (rest >> 32) as u32);
        match u64::from_le_bytes(*kind) {
            1 => Some(Self::Placed { order, price, amount }),
            2 => Some(Self::Filled { order, amount }),
            3 => Some(Self::Cancelled { order }),
            _ => None,
        }
    }
}

/// Open orders: price and what is left of the amount.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Book {
    orders: BTreeMap<u64, (u32, u32)>,
    events: u64,
    filled: u64,
}

impl Book {
    fn apply(&mut self, event: Event) {
        self.events += 1;
        match event {
            Event::Placed { order, price, amount } => drop(self.orders.insert(order, (price, amount))),
            Event::Filled { order, amount } => {
                self.filled += u64::from(amount);
                if let Some((_, left)) = self.orders.get_mut(&order) {
                    *left = left.saturating_sub(amount);
                    if *left == 0 {
                        self.orders.remove(&order);
                    }
                }
            }
            Event::Cancelled { order } => drop(self.orders.remove(&order)),
        }
    }

    /// One number for all of it.
    fn state(&self) -> u64 {
        let words =
            self.orders.iter().flat_map(|(order, (price, amount))| [*order, u64::from(*price), u64::from(*amount)]);
        words
            .chain([self.events, self.filled])
            .fold(0xCBF2_9CE4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x100_0000_01B3).rotate_left(17))
    }
}

/// The event that comes after so many: the same in every run.
fn event(number: u64, book: &Book) -> Event {
    let random = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23);
    let some = book.orders.keys().nth(random as usize % book.orders.len().max(1)).copied();
    match (random >> 40 & 3, some) {
        (0, Some(order)) => Event::Filled { order, amount: 1 + (random >> 8 & 7) as u32 },
        (1, Some(order)) if random & 1 == 0 => Event::Cancelled { order },
        _ => Event::Placed {
            order: number,
            price: 9_900 + (random & 0xFF) as u32,
            amount: 1 + (random >> 16 & 63) as u32,
        },
    }
}

/// Appends until it is killed; prints how many events are durable and what the book is then.
fn exchange(path: &Path) -> Result<()> {
    let journal = Journal::open(&Segment::at_path(path).open()?, "orders")?;
    let mut appender = journal.appender(Acknowledge::EveryCommit)?;
    let mut book = Book::default();
    for number in 0.. {
        let event = event(number, &book);
        appender.push(&event.encode())?;
        book.apply(event);
        println!("{} {:x}", book.events, book.state());
    }
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, path] = &arguments[..]
        && role == "exchange"
    {
        return exchange(path.as_ref());
    }
    let parent = arguments.first().map_or(".", |given| given);
    let directory = tempfile::tempdir_in(parent)?;
    let path = directory.path().join("orders");
    let segment = Segment::at_path(&path).size(8 << 20).create()?;
    Journal::create(&segment, "orders", JournalOptions::new().capacity(4 << 20))?.close()?;

    let mut child = Command::new(std::env::current_exe()?).arg("exchange").arg(&path).stdout(Stdio::piped()).spawn()?;
    let said = BufReader::new(child.stdout.take().ok_or("no output")?);
    std::thread::sleep(Duration::from_millis(300));
    child.kill()?;
    child.wait()?;
    // What it had printed was durable before.
    let last = said.lines().map_while(std::result::Result::ok).filter(|line| line.contains(' ')).last();
    let last = last.ok_or("killed before its first event")?;
    println!("the exchange was killed; the last it said: {last}");

    let journal = Journal::open(&segment, "orders")?;
    let report = journal.report();
    println!(
        "recovered: {} records kept, {} bytes cut, closed before: {}, epoch {}",
        report.kept, report.cut, report.clean, report.epoch
    );
    let (mut book, mut reader, mut bytes) = (Book::default(), journal.reader_from_oldest(), Vec::new());
    let told: u64 = last.split(' ').next().unwrap_or_default().parse()?;
    let mut state_then = 0;
    loop {
        match reader.try_pop(&mut bytes) {
            Ok(_) => book.apply(Event::decode(&bytes).ok_or("an event that is none")?),
            Err(JournalError::Empty) => break,
            Err(error) => return Err(error.into()),
        }
        if book.events == told {
            state_then = book.state();
        }
    }
    println!(
        "replayed: {} events, {} open orders, {} filled, state {:x}",
        book.events,
        book.orders.len(),
        book.filled,
        book.state()
    );
    if last != format!("{told} {state_then:x}") {
        return Err(format!("after {told} events the book is {state_then:x}, and was said to be {last}").into());
    }
    println!("after {told} events it is the book that the exchange had: {state_then:x}");
    Ok(())
}
