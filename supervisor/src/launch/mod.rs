//! The `launch` room.
