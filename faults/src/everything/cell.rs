//! Every call of the cell and of the blackboard.

use ipc_core::{Payload, Segment};
use ipc_ring::cell::{Blackboard, Cell, Reader, Writer};

use super::spsc::leave;
use super::{CALLS, cancelled, soon, strategy, value};
use crate::calls::Calls;
use crate::rng::Rng;

/// Uses the cell called `name`.
pub fn use_cell<T: Payload>(segment: &Segment, name: &str, rng: &mut Rng, calls: &mut Calls<'_>) {
    calls.call("Cell::open_or_create", || Cell::<T>::open_or_create(segment, name).map(drop));
    if let Some(cell) = calls.call("Cell::open", || Cell::<T>::open(segment, name)) {
        use_sides(&cell, rng, calls);
    }
    // Whoever comes next.
    if let Some(mut writer) = calls.call("cell::Writer::open", || Writer::<T>::open(segment, name)) {
        write(&mut writer, rng, calls);
    }
    if let Some(mut reader) = calls.call("cell::Reader::open", || Reader::<T>::open(segment, name)) {
        read(&mut reader, rng, calls);
    }
}

/// Uses both sides of a cell.
fn use_sides<T: Payload>(cell: &Cell<T>, rng: &mut Rng, calls: &mut Calls<'_>) {
    calls.outcome("Cell::version", || (cell.version(), cell.writer_side()));
    let mut writer = calls.call("Cell::writer", || cell.writer());
    let mut reader = calls.call("Cell::reader", || cell.reader());
    for _ in 0..CALLS {
        if let Some(writer) = &mut writer {
            write(writer, rng, calls);
        }
        if let Some(reader) = &mut reader {
            read(reader, rng, calls);
        }
    }
    if let Some(writer) = writer {
        leave!(writer, rng, calls, "cell::Writer");
    }
    if let Some(mut reader) = reader {
        read(&mut reader, rng, calls);
    }
}

fn write<T: Payload>(writer: &mut Writer<T>, rng: &mut Rng, calls: &mut Calls<'_>) {
    let value = value(rng);
    calls.call("cell::Writer::write", || writer.write(value));
    calls.outcome("cell::Writer::version", || writer.version());
}

fn read<T: Payload>(reader: &mut Reader<T>, rng: &mut Rng, calls: &mut Calls<'_>) {
    let deadline = soon(rng);
    let version = reader.version();
    let some = if rng.one_in(3) { rng.next_u64() >> rng.index(64) } else { version.wrapping_sub(rng.below(3)) };
    match rng.index(6) {
        0..2 => _ = calls.call("cell::Reader::read", || reader.read().map(|read| read.is_some())),
        2 => _ = calls.call("cell::Reader::try_newer", || reader.try_newer(some).map(|read| read.is_some())),
        3..5 => {
            calls.call("cell::Reader::wait_newer_deadline", || {
                reader.wait_newer_deadline(some, deadline).map(|read| read.is_some())
            });
        }
        _ => {
            calls.call("cell::Reader::check_writer", || reader.check_writer());
            reader.set_strategy(strategy(rng));
            reader.set_cancel(cancelled());
            calls.call("cell::Reader::wait_newer", || reader.wait_newer(some).map(|read| read.is_some()));
        }
    }
}

/// Uses all cells of the blackboard called `name`, whatever keys there are.
pub fn use_blackboard(segment: &Segment, name: &str, rng: &mut Rng, calls: &mut Calls<'_>) {
    let Some(board) = calls.call("Blackboard::open", || Blackboard::open(segment, name)) else { return };
    let cells = calls.outcome("Blackboard::cells", || board.cells().collect::<Vec<_>>()).unwrap_or_default();
    let mut builder = Blackboard::builder();
    for cell in cells.iter().take(4) {
        builder = builder.cell::<[u64; 4]>(&cell.key);
    }
    calls.outcome("BlackboardBuilder::required_size", || builder.required_size());
    let other = builder.clone();
    calls.call("BlackboardBuilder::open_or_create", || builder.open_or_create(segment, name).map(drop));
    calls.call("BlackboardBuilder::create", || other.create(segment, name).map(drop));
    for cell in cells.iter().take(4) {
        // Of whatever type it is said to be.
        let key = &cell.key;
        if let Some(cell) = calls.call("Blackboard::cell", || board.cell::<[u64; 2]>(key)) {
            use_sides(&cell, rng, calls);
        }
        if let Some(cell) = calls.call("Blackboard::cell", || board.cell::<[u64; 4]>(key)) {
            use_sides(&cell, rng, calls);
        }
        if let Some(cell) = calls.call("Blackboard::cell", || board.cell::<[u64; 48]>(key)) {
            use_sides(&cell, rng, calls);
        }
        calls.call("Blackboard::reader", || board.reader::<[u64; 4]>(key).map(drop));
        calls.call("Blackboard::writer", || board.writer::<[u64; 4]>(key).map(drop));
    }
    calls.call("Blackboard::cell of no key", || board.cell::<u64>("no such key").map(drop));
}
