//! What to look for: each canary in every form that a program may have given it, and any part
//! of such a form.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Part of a form that is too long to be there by chance.
pub const FRAGMENT: usize = 12;

/// Every window of a form is found by its first eight bytes.
const WORD: usize = 8;
/// A fragment of twelve bytes holds one whole word at a multiple of this.
const STRIDE: usize = FRAGMENT - WORD;
const PAGE: usize = 4096;
const FILTER_BITS: u32 = 23;

/// Canaries, ready to be searched for.
pub struct Needles {
    names: Vec<String>,
    forms: Vec<Form>,
    /// First bytes of a window: which form, and where in it.
    words: HashMap<u64, Vec<(usize, usize)>>,
    /// Says of most words that they are in no form.
    filter: Vec<u64>,
}

struct Form {
    canary: usize,
    name: &'static str,
    bytes: Vec<u8>,
}

/// A run of bytes that also stands in a form of a canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub canary: String,
    pub form: &'static str,
    pub start: usize,
    pub len: usize,
    /// The whole form.
    pub full: bool,
}

impl Default for Needles {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            forms: Vec::new(),
            words: HashMap::new(),
            filter: vec![0; 1 << (FILTER_BITS - 6)],
        }
    }
}

impl Needles {
    /// With `(name, canary)` pairs.
    pub fn new<'n>(canaries: impl IntoIterator<Item = (&'n str, &'n str)>) -> Self {
        let mut needles = Self::default();
        for (name, canary) in canaries {
            needles.add(name, canary.as_bytes());
        }
        needles
    }

    /// The names of what is looked for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Adds a canary in all its forms. What is known by another name keeps that one.
    pub fn add(&mut self, name: &str, canary: &[u8]) {
        assert!(canary.len() >= 16, "{name}: too short to be found for certain");
        if self.forms.iter().any(|form| form.bytes == canary) {
            return;
        }
        let known = self.names.iter().position(|n| n == name);
        let index = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        self.add_form(index, "raw", canary.to_vec());
        let escaped = json_escaped(canary);
        self.add_form(index, "json in json", json_escaped(&escaped));
        self.add_form(index, "json", escaped);
        for alignment in 0..3 {
            let whole = &canary[alignment..];
            let encoded = STANDARD_NO_PAD.encode(&whole[..whole.len() / 3 * 3]);
            let url = encoded.replace('+', "-").replace('/', "_");
            self.add_form(index, "base64", encoded.into_bytes());
            self.add_form(index, "base64url", url.into_bytes());
        }
        let hex = |digits: &[u8; 16]| {
            let digit = |n: u8| digits[usize::from(n)];
            canary.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
        };
        self.add_form(index, "hex", hex(b"0123456789abcdef"));
        self.add_form(index, "HEX", hex(b"0123456789ABCDEF"));
        self.add_form(index, "utf-16", canary.iter().flat_map(|byte| [*byte, 0]).collect());
    }

    fn add_form(&mut self, canary: usize, name: &'static str, bytes: Vec<u8>) {
        if self.forms.iter().any(|form| form.canary == canary && form.bytes == bytes) {
            return;
        }
        let form = self.forms.len();
        for at in 0..bytes.len().saturating_sub(WORD - 1) {
            let word = word_at(&bytes, at);
            // A value that repeats is known by its first period.
            let places = self.words.entry(word).or_default();
            if places.iter().any(|(known, _)| *known == form) {
                continue;
            }
            places.push((form, at));
            let bit = hash(word);
            self.filter[bit >> 6] |= 1 << (bit & 63);
        }
        self.forms.push(Form { canary, name, bytes });
    }

    /// Everything in `hay` that has [`FRAGMENT`] bytes or more of a form.
    pub fn search(&self, hay: &[u8]) -> Vec<Found> {
        self.search_by(hay, STRIDE, FRAGMENT)
    }

    /// The same for little memory, where half a fragment tells enough: registers.
    pub fn search_closely(&self, hay: &[u8]) -> Vec<Found> {
        self.search_by(hay, 1, WORD)
    }

    fn search_by(&self, hay: &[u8], stride: usize, least: usize) -> Vec<Found> {
        const ZEROS: [u8; PAGE] = [0; PAGE];
        let mut found = Vec::new();
        let (mut at, end) = (0, hay.len().saturating_sub(WORD - 1));
        while at < end {
            if at % PAGE == 0 && hay[at..].starts_with(&ZEROS) {
                at += PAGE;
                continue;
            }
            let word = word_at(hay, at);
            let bit = hash(word);
            if self.filter[bit >> 6] >> (bit & 63) & 1 == 1
                && let Some(hit) = self.longest(hay, at, word)
                && hit.len >= least
            {
                at = (hit.start + hit.len).next_multiple_of(stride).max(at + stride);
                found.push(hit);
                continue;
            }
            at += stride;
        }
        found
    }

    /// The longest run around the word at `at`.
    fn longest(&self, hay: &[u8], at: usize, word: u64) -> Option<Found> {
        let places = self.words.get(&word)?;
        let runs = places.iter().map(|&(form, offset)| {
            let form = &self.forms[form];
            let same = |(a, b): &(&u8, &u8)| a == b;
            let before = hay[..at].iter().rev().zip(form.bytes[..offset].iter().rev());
            let before = before.take_while(same).count();
            let after = hay[at..].iter().zip(&form.bytes[offset..]).take_while(same).count();
            let len = before + after;
            let full = len == form.bytes.len();
            let canary = self.names[form.canary].clone();
            Found { canary, form: form.name, start: at - before, len, full }
        });
        runs.max_by_key(|run| run.len)
    }
}

#[inline]
fn word_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("a whole word"))
}

#[inline]
fn hash(word: u64) -> usize {
    usize::try_from(word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - FILTER_BITS)).expect("fits")
}

fn json_escaped(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let quoted = serde_json::to_vec(&*text).expect("text is JSON");
    quoted[1..quoted.len() - 1].to_vec()
}

/// Every form is found where it is planted, whole and in part. Runs before each search of a
/// process, because a search that finds nothing proves nothing by itself.
pub fn check_search() {
    let canary = "q\"u\\o\nte-0123456789abcdefghijklmnopqrstuvwxyz\u{7f}?>~";
    let needles = Needles::new([("canary", canary)]);
    assert!(needles.forms.len() >= 10, "{}", needles.forms.len());
    for form in &needles.forms {
        for shift in 0..9 {
            let mut hay = vec![0x20; 5000];
            hay[4090 + shift..][..form.bytes.len()].copy_from_slice(&form.bytes);
            let found = needles.search(&hay);
            assert!(found.iter().any(|f| f.full), "{} at {shift}: {found:?}", form.name);
            for part in form.bytes.windows(FRAGMENT) {
                let mut hay = vec![0x20; 64];
                hay[shift..][..FRAGMENT].copy_from_slice(part);
                assert!(!needles.search(&hay).is_empty(), "a part of {} at {shift}", form.name);
            }
        }
    }
    assert_eq!(needles.search(&[0x20; 9000]), []);
}
