//! Which caller rules match a request.

use super::super::policy::{Policy, Rule};

/// A set of rule numbers. Up to 64 rules it takes no allocation.
#[derive(Clone, Default)]
pub(super) struct Matched {
    first: u64,
    rest: Vec<u64>,
}

impl Matched {
    pub(super) fn add(&mut self, rule: usize) {
        let bit = 1 << (rule % 64);
        match (rule / 64).checked_sub(1) {
            None => self.first |= bit,
            Some(word) => {
                if self.rest.len() <= word {
                    self.rest.resize(word + 1, 0);
                }
                if let Some(word) = self.rest.get_mut(word) {
                    *word |= bit;
                }
            }
        }
    }

    /// The matching rules, in the order of the configuration.
    pub(super) fn rules<'r>(&self, policy: &'r Policy) -> impl Iterator<Item = &'r Rule> {
        policy.rules.iter().enumerate().filter(|(at, _)| self.contains(*at)).map(|(_, rule)| rule)
    }

    fn contains(&self, rule: usize) -> bool {
        let word = match (rule / 64).checked_sub(1) {
            None => Some(&self.first),
            Some(word) => self.rest.get(word),
        };
        word.is_some_and(|word| word >> (rule % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_rules_fits() {
        let mut matched = Matched::default();
        for rule in [0, 63, 64, 300] {
            matched.add(rule);
        }
        let all: Vec<_> = (0..400).filter(|&rule| matched.contains(rule)).collect();
        assert_eq!(all, [0, 63, 64, 300]);
    }
}
