//! What the client asked for and the server has not answered yet, in the order in which the
//! server comes to it.
//!
//! A count would do, were it not for COPY: while the server takes a client's data it passes over
//! `Sync`, which is answered by nothing then, and which clients send all the same, with the
//! `Execute` that begins the copy.

use std::collections::VecDeque;

/// Further ones are not kept, and the session counts as busy to its end. A server has them all in
/// its socket: nobody gets so far.
const MOST: usize = 1 << 18;

/// A message that the server has still to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// A simple query, a function call, or the start of the session: answered in the end by
    /// `ReadyForQuery`, also after an error.
    Query,
    Execute,
    /// Answered by `ReadyForQuery`; the end of what an error has the server pass over.
    Sync,
    /// `CopyDone` or `CopyFail`.
    CopyEnd,
}

/// What the server does with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Answers,
    /// It takes data, and the client has not said yet that there is no more.
    TakesData,
    /// After an error, up to the next `Sync`.
    PassesOver,
}

/// All of them, and what the server does at the moment.
#[derive(Debug)]
pub(super) struct Pending {
    asked: VecDeque<Asked>,
    /// Messages of the extended protocol without their `Sync`.
    unsynced: bool,
    mode: Mode,
    /// There were too many to keep.
    lost: bool,
}

impl Pending {
    /// Before the session's first `ReadyForQuery`.
    pub(super) fn new() -> Self {
        let asked = VecDeque::from([Asked::Query]);
        Self { asked, unsynced: false, mode: Mode::Answers, lost: false }
    }

    /// Nothing is asked, and nothing is owed.
    pub(super) fn is_none(&self) -> bool {
        self.asked.is_empty() && self.mode == Mode::Answers && !self.unsynced && !self.lost
    }

    /// A message of this type from the client.
    pub(super) fn client_sent(&mut self, tag: u8) {
        match tag {
            b'Q' | b'F' => self.push(Asked::Query),
            b'S' if self.mode == Mode::TakesData => {}
            b'S' => {
                self.unsynced = false;
                self.mode = Mode::Answers;
                self.push(Asked::Sync);
            }
            b'c' | b'f' if self.mode == Mode::TakesData => self.mode = Mode::Answers,
            // Perhaps the end of a copy of whose beginning the server has not told yet.
            b'c' | b'f' if !self.asked.is_empty() => self.push(Asked::CopyEnd),
            b'E' => {
                self.unsynced = true;
                self.push(Asked::Execute);
            }
            b'P' | b'B' | b'D' | b'C' | b'H' => self.unsynced = true,
            _ => {}
        }
    }

    /// A message of this type from the server.
    pub(super) fn server_sent(&mut self, tag: u8) {
        match tag {
            b'G' => self.copy_begins(),
            // The end of an `Execute`; those of a query's parts mean nothing.
            b'C' | b'I' | b's' => {
                self.takes_no_data();
                if self.asked.front() == Some(&Asked::Execute) {
                    self.asked.pop_front();
                }
            }
            b'E' => self.fails(),
            b'Z' => {
                self.takes_no_data();
                let owed = |asked: &Asked| matches!(asked, Asked::Query | Asked::Sync);
                let at = self.asked.iter().position(owed);
                if at.is_none() && self.mode == Mode::PassesOver {
                    // A sync that seemed passed over, in the middle of data that had failed by then.
                    (self.mode, self.unsynced) = (Mode::Answers, false);
                }
                self.asked.drain(..at.map_or(self.asked.len(), |at| at + 1));
            }
            _ => return,
        }
        // Data that nobody takes is passed over, and so is its end.
        while self.asked.front() == Some(&Asked::CopyEnd) {
            self.asked.pop_front();
        }
    }

    /// Every `Sync` before the end of the data, sent already or to be sent, is passed over.
    fn copy_begins(&mut self) {
        let Some(first) = self.asked.front().copied() else { return };
        let end = self.asked.iter().position(|asked| *asked == Asked::CopyEnd);
        let rest = end.map(|end| self.asked.split_off(end));
        self.asked.retain(|asked| *asked != Asked::Sync);
        self.mode = if rest.is_some() { Mode::Answers } else { Mode::TakesData };
        // Without the end itself.
        self.asked.extend(rest.into_iter().flatten().skip(1));
        if first == Asked::Execute && !self.asked.contains(&Asked::Sync) {
            self.unsynced = true;
        }
    }

    /// An error in the extended protocol has the server pass over everything up to a `Sync`.
    fn fails(&mut self) {
        self.takes_no_data();
        if self.asked.front() == Some(&Asked::Query) {
            return;
        }
        let at = self.asked.iter().position(|asked| *asked == Asked::Sync);
        if at.is_none() {
            self.mode = Mode::PassesOver;
        }
        self.asked.drain(..at.unwrap_or(self.asked.len()));
    }

    fn takes_no_data(&mut self) {
        if self.mode == Mode::TakesData {
            self.mode = Mode::Answers;
        }
    }

    fn push(&mut self, asked: Asked) {
        if self.mode == Mode::PassesOver {
            return;
        }
        if self.asked.len() < MOST {
            self.asked.push_back(asked);
        } else {
            self.lost = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages as they pass: `>` begins those of the client, `<` those of the server. `.` stands
    /// where nothing may be pending, and everywhere else something has to be.
    fn passes(script: &str) {
        let mut pending = Pending::new();
        pending.server_sent(b'Z');
        let mut side = b'>';
        let mut messages = script.bytes().filter(|byte| *byte != b' ').peekable();
        while let Some(byte) = messages.next() {
            match (byte, side) {
                (b'>' | b'<', _) => side = byte,
                (b'.', _) => {}
                (tag, b'>') => pending.client_sent(tag),
                (tag, _) => pending.server_sent(tag),
            }
            if !matches!(byte, b'>' | b'<') {
                let expected = byte == b'.' || messages.peek() == Some(&b'.');
                assert_eq!(pending.is_none(), expected, "{script}: after {}", char::from(byte));
            }
        }
    }

    #[test]
    fn the_start() {
        let mut pending = Pending::new();
        assert!(!pending.is_none());
        for tag in [b'S', b'K', b'N'] {
            pending.server_sent(tag);
            assert!(!pending.is_none());
        }
        pending.server_sent(b'Z');
        assert!(pending.is_none());
    }

    #[test]
    fn queries_and_batches() {
        passes(">Q <TDDCZ.");
        passes(">QQ <CZ CZ.");
        passes(">PBDES <12TDCZ.");
        passes(">PBEBES <12C2CZ.");
        passes(">BES BES <2CZ 2CZ.");
        passes(">BEH <2s >ES <CZ.");
        passes(">PS <1Z. >BES <2IZ.");
        passes(">F <VZ.");
        // Two of them are owed two answers.
        passes(">SS <Z Z.");
        // A query of several statements.
        passes(">Q <CCCZ.");
    }

    #[test]
    fn errors_pass_over_what_follows_up_to_a_sync() {
        passes(">Q <EZ.");
        passes(">PBES <EZ.");
        passes(">BEBES <2CEZ.");
        passes(">BES BES <EZ 2CZ.");
        // The error comes before the sync is sent.
        passes(">PBEH <E >BE >S <Z.");
    }

    #[test]
    fn copies_by_the_simple_protocol() {
        passes(">Q <G >ddc <CZ.");
        passes(">Q <G >df <EZ.");
        passes(">Q <G >d <E >dc <Z.");
        passes(">Q <G >d <EZ. >d.c.");
        // Two copies of one query, and a copy to the client.
        passes(">Q <G >dc <CG >dc <CZ.");
        passes(">Q <HddcCZ.");
        // Not waited for.
        passes(">Qdc Q <GCZ CZ.");
        // A sync is passed over here as well.
        passes(">QS <G >dSc <CZ.");
    }

    /// As tokio-postgres and libpq do: the sync that comes with the execute is passed over.
    #[test]
    fn copies_by_the_extended_protocol() {
        passes(">BES <2G >ddc S <CZ.");
        passes(">PBDES <12nG >dcS <CZ.");
        passes(">BES <2G >dfS <EZ.");
        // The sync comes late, or never before the end.
        passes(">BE <2G >SddSHc <C >S <Z.");
        passes(">BE <2G >dS <EZ. >Q <CZ.");
        passes(">BEH <2G >dcS <CZ.");
        // A copy behind another request, and one before another.
        passes(">BES BES <2CZ 2G >dcS <CZ.");
        passes(">BES <2G >dcS BES <CZ 2CZ.");
        // Nothing is waited for: of three syncs two are answered.
        passes(">BES dcS BES <2GCZ 2CZ.");
        passes(">BES dc <2GC >S <Z.");
    }

    #[test]
    fn copies_that_fail() {
        // The server finds a mistake in the data before their end, and after it.
        passes(">BES <2G >d <E >dcS <Z.");
        passes(">BES <2G >dcS <EZ.");
        // The table is not there: no copy begins.
        passes(">BES <2EZ.");
        passes(">BES dcS <EZ Z.");
    }

    #[test]
    fn more_than_anybody_asks_for() {
        let mut pending = Pending::new();
        for _ in 0..=MOST {
            pending.client_sent(b'Q');
        }
        assert!(pending.asked.len() <= MOST);
        for _ in 0..=MOST + 1 {
            pending.server_sent(b'Z');
        }
        assert!(!pending.is_none(), "nobody knows any more");
    }
}
