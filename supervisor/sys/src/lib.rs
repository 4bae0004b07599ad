//! The floor: one kernel facility per file, safe on top. The unsafe code of the project lives here.
