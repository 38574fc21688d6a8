//! Which requests came, and what became of them.

use std::collections::VecDeque;

/// `sidekey dev` may run for weeks: older records give way.
const KEPT: usize = 65_536;

/// One request as it was answered: never a body, never a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// `GET`, `POST`, `LIST`…
    pub method: String,
    /// Without `/v1/` and without the query.
    pub path: String,
    /// The status given, or none when there was (or is yet) no answer.
    pub status: Option<u16>,
}

/// The requests in the order of arrival.
#[derive(Default)]
pub(super) struct Log {
    /// How many came before the first record kept.
    dropped: usize,
    records: VecDeque<RequestRecord>,
}

impl Log {
    /// Records a request, and gives the ticket for its answer.
    pub(super) fn arrived(&mut self, method: &str, path: &str) -> usize {
        if self.records.len() == KEPT {
            self.records.pop_front();
            self.dropped += 1;
        }
        let (method, path) = (method.to_owned(), path.to_owned());
        self.records.push_back(RequestRecord { method, path, status: None });
        self.dropped + self.records.len() - 1
    }

    pub(super) fn answered(&mut self, ticket: usize, status: u16) {
        let index = ticket.checked_sub(self.dropped);
        if let Some(record) = index.and_then(|index| self.records.get_mut(index)) {
            record.status = Some(status);
        }
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &RequestRecord> {
        self.records.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_records_give_way() {
        let mut log = Log::default();
        let first = log.arrived("GET", "first");
        for _ in 0..KEPT {
            log.arrived("GET", "next");
        }
        log.answered(first, 200);
        let last = log.arrived("GET", "last");
        log.answered(last, 404);
        assert_eq!(log.records().count(), KEPT);
        assert_eq!(log.records().last().unwrap().status, Some(404));
        assert_eq!(log.records().filter(|record| record.status.is_some()).count(), 1);
    }
}
