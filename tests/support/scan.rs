//! A search of everything that a process holds: its memory as `/proc/PID/mem` shows it, and
//! its registers; or of a file, such as a core dump.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::needle::{FRAGMENT, Found, Needles};
use super::ptrace::Stopped;

/// What a search saw.
#[derive(Debug, Default)]
pub struct Scan {
    pub hits: Vec<Hit>,
    /// Bytes that were read.
    pub bytes: u64,
    /// Bytes that could not be read, by mapping.
    pub unreadable: BTreeMap<String, u64>,
}

/// A canary, or a part of one, and where it was.
#[derive(Debug, Clone)]
pub struct Hit {
    pub found: Found,
    /// The mapping, with the thread whose stack it is; or registers; or the file.
    pub place: String,
    pub address: u64,
    /// The bytes around it, as far as they can be printed.
    pub around: String,
    bytes: Vec<u8>,
}

/// One line of `/proc/PID/maps`.
struct Mapping {
    start: u64,
    end: u64,
    name: String,
}

/// Searches a process while all its threads are stopped.
pub fn process(pid: u32, needles: &Needles) -> Scan {
    let stopped = Stopped::all_threads(pid).unwrap_or_else(|e| panic!("cannot stop {pid}: {e}"));
    let mut scan = Scan::default();
    for (tid, registers) in stopped.threads() {
        for (kind, bytes) in [("general", &registers.general), ("vector", &registers.vector)] {
            let place = format!("{kind} registers of {} ({tid})", registers.name);
            scan.note(&place, 0, bytes, needles.search_closely(bytes));
        }
    }
    let memory = File::open(format!("/proc/{pid}/mem")).expect("needs root");
    for mapping in mappings(pid) {
        let inside = |sp: u64| (mapping.start..mapping.end).contains(&sp);
        let thread = stopped.threads().find(|(_, registers)| inside(registers.stack_pointer));
        let place = match thread {
            Some((_, registers)) => format!("{} stack of {}", mapping.name, registers.name),
            None => mapping.name.clone(),
        };
        scan.mapping(&memory, &mapping, &place, needles);
    }
    scan
}

/// Searches a file, such as a core image of `program`.
pub fn file(path: &Path, program: &Path, needles: &Needles) -> Scan {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut scan = Scan { bytes: bytes.len() as u64, ..Scan::default() };
    scan.note(&path.display().to_string(), 0, &bytes, needles.search(&bytes));
    scan.leave_out_constants(program);
    scan
}

fn mappings(pid: u32) -> Vec<Mapping> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("a living process");
    let parse = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let readable = fields.next()?.starts_with('r');
        let name: Vec<&str> = fields.skip(3).collect();
        let name = if name.is_empty() { "anonymous".into() } else { name.join(" ") };
        let kernel = name.starts_with("[vvar") || name == "[vsyscall]";
        let address = |text| u64::from_str_radix(text, 16).ok();
        let mapping = Mapping { start: address(start)?, end: address(end)?, name };
        (readable && !kernel).then_some(mapping)
    };
    maps.lines().filter_map(parse).collect()
}

impl Scan {
    fn mapping(&mut self, memory: &File, mapping: &Mapping, place: &str, needles: &Needles) {
        let mut at = mapping.start;
        while at < mapping.end {
            if memory.read_at(&mut [0], at).is_err() {
                let refused = (mapping.end - at).min(4096);
                *self.unreadable.entry(mapping.name.clone()).or_default() += refused;
                at += refused;
                continue;
            }
            let mut bytes = vec![0; usize::try_from(mapping.end - at).expect("fits")];
            let read = read_up_to(memory, &mut bytes, at);
            bytes.truncate(read);
            self.bytes += bytes.len() as u64;
            self.note(place, at, &bytes, needles.search(&bytes));
            at += (bytes.len() as u64).max(1);
        }
    }

    fn note(&mut self, place: &str, base: u64, bytes: &[u8], found: Vec<Found>) {
        for found in found {
            let (from, to) = (found.start.saturating_sub(32), found.start + found.len + 32);
            let around = &bytes[from..to.min(bytes.len()).min(from + 160)];
            let around =
                String::from_utf8_lossy(around).replace(|c: char| !c.is_ascii_graphic(), "·");
            let address = base + found.start as u64;
            let bytes = bytes[found.start..found.start + found.len].to_vec();
            self.hits.push(Hit { found, place: place.to_owned(), address, around, bytes });
        }
    }

    /// Forgets short parts that the program's file has as constants: six digits of a random
    /// secret-id, say, in a table of two-digit numbers. What the file has, no run put there.
    pub fn leave_out_constants(&mut self, program: &Path) {
        const SHORT: usize = 2 * FRAGMENT;
        // More than chance puts there: and a slow search for each of them.
        const MANY: usize = 8;
        let is_short = |hit: &Hit| !hit.found.full && hit.bytes.len() < SHORT;
        if !(1..=MANY).contains(&self.hits.iter().filter(|hit| is_short(hit)).count()) {
            return;
        }
        let program =
            std::fs::read(program).unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        let is_constant = |part: &[u8]| program.windows(part.len()).any(|window| window == part);
        self.hits.retain(|hit| !is_short(hit) || !is_constant(&hit.bytes));
    }

    /// How many hits are whole copies, and how many are parts.
    pub fn copies_and_fragments(&self) -> (usize, usize) {
        let copies = self.hits.iter().filter(|hit| hit.found.full).count();
        (copies, self.hits.len() - copies)
    }

    /// What was found where, in short.
    pub fn places(&self) -> String {
        let place = |hit: &Hit| {
            let Found { canary, form, len, .. } = &hit.found;
            format!("    {len:7} bytes of {canary} ({form}) in {}", hit.place)
        };
        self.hits.iter().map(place).collect::<Vec<_>>().join("\n")
    }

    /// Bytes of secret memory, which refused to be read.
    pub fn secret_bytes(&self) -> u64 {
        self.unreadable.iter().filter(|(name, _)| name.contains("secretmem")).map(|(_, n)| n).sum()
    }

    /// Fails unless nothing was found, in a search that was a search.
    pub fn assert_nothing(&self, moment: &str) {
        assert!(self.bytes > 1 << 20, "{moment}: only {} bytes were read", self.bytes);
        assert!(self.hits.is_empty(), "{moment}: {self}");
    }
}

/// Reads until the first page that refuses.
fn read_up_to(memory: &File, bytes: &mut [u8], at: u64) -> usize {
    let mut read = 0;
    while read < bytes.len() {
        match memory.read_at(&mut bytes[read..], at + read as u64) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    read
}

impl fmt::Display for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (copies, fragments) = self.copies_and_fragments();
        write!(f, "{copies} copies and {fragments} fragments in {} KiB", self.bytes >> 10)?;
        for hit in self.hits.iter().take(40) {
            let Found { canary, form, len, full, .. } = &hit.found;
            let whole = if *full { "whole" } else { "part" };
            write!(
                f,
                "\n  {canary} {form} {whole} {len} bytes at {:#x} in {}",
                hit.address, hit.place
            )?;
            write!(f, "\n      {}", hit.around)?;
        }
        Ok(())
    }
}
