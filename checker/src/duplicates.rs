//! Elements shown more than once in one read of a set: what Jepsen's `set` and `set-full` cannot
//! see, as a checker of its own, so that theirs stay comparable.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::{Event, EventType, Value, Verdict};

/// The result of looking for duplicates.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Results {
    /// Whether there are none; unknown if nothing was read.
    #[serde(rename = "valid?")]
    pub valid: Verdict,
    /// Distinct elements that some read showed more than once.
    pub duplicated_count: usize,
    /// They, and how often they stood in one read at most.
    pub duplicated: BTreeMap<String, u64>,
}

/// Looks for duplicates in all reads that succeeded.
pub fn check<'a>(events: impl IntoIterator<Item = &'a Event>) -> Results {
    let mut duplicated = BTreeMap::new();
    let mut read = false;
    let reads = events.into_iter().filter(|e| e.f == "read" && e.event_type == EventType::Ok);
    for elements in reads.filter_map(|event| event.value.elements()) {
        read = true;
        let mut frequencies: HashMap<&Value, u64> = HashMap::with_capacity(elements.len());
        for element in elements {
            *frequencies.entry(element).or_default() += 1;
        }
        for (element, count) in frequencies.into_iter().filter(|(_, count)| *count > 1) {
            let most: &mut u64 = duplicated.entry(element.to_string()).or_default();
            *most = count.max(*most);
        }
    }
    let valid = if read { Verdict::from_bool(duplicated.is_empty()) } else { Verdict::Unknown };
    Results { valid, duplicated_count: duplicated.len(), duplicated }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{Event, EventType, Process, Value, Verdict};

    fn read(numbers: &[i64]) -> Event {
        let elements: Vec<_> = numbers.iter().map(|number| Value::Int(*number)).collect();
        Event::new(EventType::Ok, Process::Client(0), "read", elements)
    }

    #[test]
    fn an_element_shown_twice_in_one_read_is_a_duplicate() {
        let results = check(&[read(&[7, 8, 7]), read(&[7, 7, 7]), read(&[8])]);
        assert_eq!(results.valid, Verdict::Invalid);
        assert_eq!(results.duplicated, [("7".to_owned(), 3)].into());
    }

    #[test]
    fn the_same_element_in_two_reads_is_none() {
        assert_eq!(check(&[read(&[7]), read(&[7])]).valid, Verdict::Valid);
        assert_eq!(check(&[]).valid, Verdict::Unknown);
    }
}
