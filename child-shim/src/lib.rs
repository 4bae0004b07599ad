//! What a program inside the sandbox links to ask its supervisor for files.
