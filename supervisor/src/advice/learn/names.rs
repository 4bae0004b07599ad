//! Names that are another one each time, as patterns.

/// How programs begin such names.
const BEGINNINGS: [&str; 6] = ["tmp", "temp", "sed", "conftest", "rustc", "cc"];

/// A name as a pattern that means the next one of its kind as well; `None`: nothing in it looks made up.
pub(super) fn pattern(name: &str) -> Option<String> {
    let mut pattern = String::new();
    let mut is_pattern = false;
    let mut rest = name;
    while !rest.is_empty() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        match made_up(word) {
            Some(kept) => {
                pattern.push_str(kept);
                pattern.push('*');
                is_pattern = true;
            }
            None => pattern.push_str(word),
        }
        let next = behind.chars().next().map_or(0, char::len_utf8);
        if behind[..next].contains(['*', '?', '[', '$']) {
            return None;
        }
        pattern.push_str(&behind[..next]);
        rest = &behind[next..];
    }
    match pattern.trim_matches(['*', '.']) {
        _ if !is_pattern => None,
        // A pattern of everything says nothing.
        "" => beginning(name),
        _ => Some(pattern),
    }
}

/// A name that is made up at its end alone: `mkstemp` takes six letters of both cases, Python eight small ones.
fn beginning(name: &str) -> Option<String> {
    let is_small = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    let kept = name.len().checked_sub(if is_small { 8 } else { 6 })?;
    let kept = name.get(..kept)?;
    (kept.trim_matches('.').len() >= 2).then(|| format!("{kept}*"))
}

/// What of a word stays, where the rest is made up: numbers of processes, random letters.
fn made_up(word: &str) -> Option<&str> {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let is_number = digits == word.len() && digits >= 3;
    let rest = |beginning: &&&str| word.strip_prefix(**beginning);
    let beginning = BEGINNINGS
        .iter()
        .find(|beginning| rest(beginning).is_some_and(|rest| rest.len() >= 5));
    let lower = word.bytes().any(|byte| byte.is_ascii_lowercase());
    let upper = word.bytes().skip(1).any(|byte| byte.is_ascii_uppercase());
    let is_mixed = word.len() >= 6 && (digits >= 1 && (lower || upper) || lower && upper);
    match beginning {
        Some(beginning) => Some(beginning),
        None if is_number || is_mixed => Some(""),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn names_that_are_made_up_become_patterns_and_others_do_not() {
        for (name, expected) in [
            ("sedAbCdEf", Some("sed*")),
            ("tmp8kq3zx_a", Some("tmp*")),
            (".out.txt.4711", Some(".out.txt.*")),
            ("Cargo.lock", None),
            ("index.lock", None),
            ("COMMIT_EDITMSG", None),
            ("log.txt", None),
            ("12345", None),
            ("x.Xa81bQ.part", Some("x.*.part")),
            ("a*b12345", None),
            ("recordk_c30q7l", Some("record*")),
            ("rmetaXyZ123", Some("rmeta*")),
            ("k_c30q7l", None),
        ] {
            assert_eq!(pattern(name).as_deref(), expected, "{name}");
        }
    }
}
