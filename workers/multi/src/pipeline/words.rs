//! The variables that a stage is given, and how they stand in a command's words.

/// What every stage is given beside the outputs of those that it needs.
pub(crate) const GIVEN: [&str; 10] = [
    "INPUT_FILE",
    "INPUT_DIR",
    "OUTPUT_DIR",
    "TMPDIR",
    "WORK_ITEM_FILE",
    "WORK_ITEM_NAME",
    "ATTEMPT",
    "ITEM_INPUT_FILE",
    "ITEM_INPUT_DIR",
    "STAGE_ATTEMPT",
];

/// By what begins the name of a variable that holds the output of a stage that is needed.
const NEEDS: &str = "NEEDS_";

/// Whether a stage is given a variable of this name, whatever its container says.
pub(crate) fn is_given(name: &str) -> bool {
    GIVEN.contains(&name) || name.starts_with(NEEDS)
}
