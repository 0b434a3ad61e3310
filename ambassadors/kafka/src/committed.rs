//! What stands beside an offset that we commit: of which topic it is, since offsets of a topic that was deleted mean nothing in the one that
//! was made in its place; and how many partitions that had when the group began, since those that came later are new as a whole.

const OF: &str = "longshore topic ";
const PARTITIONS: &str = " of partitions ";

/// What we write.
pub(crate) fn note(identity: &str, first: usize) -> String {
    format!("{OF}{identity}{PARTITIONS}{first}")
}

/// Whether the offset that this stands beside is of this topic; of those that were not committed by us it is taken for granted.
pub(crate) fn is_of(note: &str, identity: &str) -> bool {
    read(note).is_none_or(|(of, _)| of == identity)
}

/// Of how many partitions one cannot say that they came after the group began, by what stands beside one of its offsets: none where it
/// began with a topic that was there before, or as somebody else, who says nothing of it.
pub(crate) fn first(note: &str, identity: &str) -> usize {
    read(note).filter(|(of, _)| *of == identity).map_or(0, |(_, first)| first)
}

fn read(note: &str) -> Option<(&str, usize)> {
    let (identity, first) = note.strip_prefix(OF)?.split_once(PARTITIONS)?;
    Some((identity, first.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_of_a_topic_that_was_deleted_means_nothing() {
        let note = note("abc", 3);
        assert!(is_of(&note, "abc") && !is_of(&note, "abd"));
        assert!(is_of("", "abc") && is_of("set by hand", "abc"));
    }

    #[test]
    fn partitions_are_old_only_where_the_group_has_noted_it() {
        assert_eq!(first(&note("cluster/name", 3), "cluster/name"), 3);
        for other in [note("abd", 3).as_str(), "", "set by hand", "longshore topic abc"] {
            assert_eq!(first(other, "abc"), 0, "{other:?}");
        }
    }
}
