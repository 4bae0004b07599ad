//! Where `unsafe` may stand, and what must stand above it.

use crate::source::{Source, squeezed, words};

/// The places whose work cannot be done otherwise. Everything else is safe code.
const PLACES: [&str; 8] = [
    "supervisor/sys/",
    "supervisor/src/launch/child.rs",
    "supervisor/src/launch/guardian.rs",
    "child-shim/c/src/",
    "child-shim/preload/src/",
    "tests/probe/",
    "tests/harness/",
    "tests/bench/",
];

pub fn check(path: &str, text: &str) -> Vec<String> {
    let source = Source::parse(text);
    let is_a_place = PLACES.iter().any(|place| path.starts_with(place));
    let mut found = Vec::new();
    for (line, code) in source.code.iter().enumerate() {
        for at in words(code, "unsafe") {
            let number = line + 1;
            if !is_a_place {
                found.push(format!("{path}:{number}: `unsafe` has no place here"));
            } else if needs_a_proof(&source.code, line, at) && !has_a_proof(&source, line) {
                found.push(format!(
                    "{path}:{number}: `unsafe` without a SAFETY note above it"
                ));
            }
        }
    }
    found
}

/// Blocks, implementations and foreign blocks; not the declaration of a function, whose caller owes the proof.
fn needs_a_proof(code: &[String], line: usize, at: usize) -> bool {
    let rest = squeezed(&code[line][at + "unsafe".len()..]);
    let rest = if rest.is_empty() {
        code.get(line + 1)
            .map(|next| squeezed(next))
            .unwrap_or(rest)
    } else {
        rest
    };
    // The text of an ABI is blanked.
    rest.starts_with('{') || rest.starts_with("impl") || rest.starts_with("extern{")
}

/// The note stands on the same line or above, with nothing between but the beginning of the same statement.
fn has_a_proof(source: &Source, line: usize) -> bool {
    let has_note = |line: usize| source.comments[line].contains("SAFETY:");
    if has_note(line) {
        return true;
    }
    for above in (0..line).rev() {
        if has_note(above) {
            return true;
        }
        let code = source.code[above].trim();
        let is_comment = !source.comments[above].trim().is_empty();
        let is_attribute = code.starts_with("#[");
        let ends_something = code.ends_with([';', '{', '}']) || (code.is_empty() && !is_comment);
        if ends_something && !is_attribute {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::check;

    const PLACE: &str = "supervisor/sys/src/x.rs";

    #[test]
    fn unsafe_code_elsewhere_is_found() {
        let found = check(
            "supervisor/src/policy/x.rs",
            "fn a() {\n unsafe { b() }\n}\n",
        );
        assert_eq!(
            found,
            ["supervisor/src/policy/x.rs:2: `unsafe` has no place here"]
        );
        assert_eq!(check("src/main.rs", "unsafe fn a() {}").len(), 1);
        assert_eq!(check("src/main.rs", "#[unsafe(no_mangle)]").len(), 1);
    }

    #[test]
    fn words_about_unsafe_code_are_not_unsafe_code() {
        assert!(check("src/main.rs", "#![forbid(unsafe_code)] // unsafe\n").is_empty());
    }

    #[test]
    fn a_block_without_a_note_is_found() {
        assert_eq!(check(PLACE, "fn a() {\n unsafe { b() }\n}\n").len(), 1);
        assert_eq!(check(PLACE, "unsafe impl Send for A {}\n").len(), 1);
        assert_eq!(
            check(PLACE, "unsafe extern \"C\" {\n fn a();\n}\n").len(),
            1
        );
        let second = "// SAFETY: one\nunsafe { a() };\nunsafe { b() };\n";
        assert_eq!(check(PLACE, second).len(), 1);
        let far = "// SAFETY: one\n\nunsafe { a() };\n";
        assert_eq!(check(PLACE, far).len(), 1);
    }

    #[test]
    fn a_block_with_a_note_passes() {
        assert!(
            check(
                PLACE,
                "// SAFETY: one\n// more\nlet a = f(\n unsafe { b() },\n);\n"
            )
            .is_empty()
        );
        assert!(
            check(
                PLACE,
                "// SAFETY: one\n#[cfg(x)]\nunsafe impl Send for A {}\n"
            )
            .is_empty()
        );
        assert!(
            check(
                PLACE,
                "pub unsafe fn a();\ntype B = unsafe extern \"C\" fn();\n"
            )
            .is_empty()
        );
    }
}
