//! What /proc tells of mappings and memory.

use std::fs::read_to_string;

/// One mapping of this process, as /proc/self/maps has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Such as `rw-s`.
    pub(crate) rights: String,
    pub(crate) name: String,
}

fn parse(line: &str) -> Option<Line> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let rights = fields.next()?.to_owned();
    let name = fields.skip(3).collect::<Vec<_>>().join(" ");
    Some(Line { start, end, rights, name })
}

/// All mappings of this process that touch a range, in order.
pub(crate) fn maps(start: usize, len: usize) -> Vec<Line> {
    let lines = read_to_string("/proc/self/maps").unwrap();
    lines.lines().filter_map(parse).filter(|line| line.start < start + len && start < line.end).collect()
}

/// The mapping that holds an address.
pub(crate) fn map_at(address: usize) -> Line {
    maps(address, 1).pop().unwrap_or_else(|| panic!("nothing is mapped at {address:#x}"))
}

/// What /proc/self/smaps says of one field of the mapping that holds an address.
pub(crate) fn smaps(address: usize, field: &str) -> String {
    let text = read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    for line in text.lines() {
        if let Some(mapping) = parse(line) {
            inside = (mapping.start..mapping.end).contains(&address);
        } else if inside && let Some(rest) = line.strip_prefix(field) {
            return rest.trim_start_matches(':').trim().to_owned();
        }
    }
    panic!("no {field} of {address:#x}");
}

/// Kilobytes in a field of smaps.
pub(crate) fn kilobytes(address: usize, field: &str) -> u64 {
    first_number(&smaps(address, field))
}

/// Whether smaps shows a flag of two letters.
pub(crate) fn has_flag(address: usize, flag: &str) -> bool {
    smaps(address, "VmFlags").split_ascii_whitespace().any(|found| found == flag)
}

fn first_number(text: &str) -> u64 {
    text.split_ascii_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{text:?}"))
}

/// A line of /proc/meminfo, in bytes.
pub(crate) fn meminfo(field: &str) -> u64 {
    let text = read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    first_number(line.unwrap_or_else(|| panic!("no {field}"))) * 1024
}

/// A number in a file of /proc or /sys.
pub(crate) fn number(path: &str) -> Option<u64> {
    read_to_string(path).ok()?.trim().parse().ok()
}
