//! `SupervisorSocket`: framed messages with file descriptors, and who sent them by the word of the kernel.
#![forbid(unsafe_code)]
