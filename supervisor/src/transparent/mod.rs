//! The `transparent` room.
