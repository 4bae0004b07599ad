//! Rust source, cut into what the compiler reads and what people read.

/// One file, line by line. `code` has comments, strings and characters blanked; `comments` has nothing but comments.
pub struct Source {
    pub code: Vec<String>,
    pub comments: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Code,
    LineComment,
    BlockComment(usize),
    Text,
    RawText(usize),
}

impl Source {
    pub fn parse(text: &str) -> Self {
        let (mut code, mut comments) = (String::new(), String::new());
        let chars: Vec<char> = text.chars().collect();
        let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
        let mut state = State::Code;
        let mut index = 0;
        while index < chars.len() {
            let (character, next) = (at(index), at(index + 1));
            let mut taken = 1;
            let mut is_code = false;
            let mut is_comment = false;
            match state {
                State::Code => match (character, next) {
                    ('/', '/') => state = State::LineComment,
                    ('/', '*') => {
                        state = State::BlockComment(1);
                        taken = 2;
                    }
                    ('"', _) => state = State::Text,
                    ('r', '"' | '#') if !continues_a_word(&chars, index) => {
                        match raw_text_opening(&chars[index..]) {
                            Some((hashes, length)) => {
                                state = State::RawText(hashes);
                                taken = length;
                            }
                            None => is_code = true,
                        }
                    }
                    ('\'', _) => match character_literal(&chars[index..]) {
                        Some(length) => taken = length,
                        None => is_code = true,
                    },
                    _ => is_code = true,
                },
                State::LineComment if character == '\n' => state = State::Code,
                State::LineComment => is_comment = true,
                State::BlockComment(depth) => {
                    is_comment = true;
                    if (character, next) == ('*', '/') {
                        taken = 2;
                        state = if depth == 1 {
                            State::Code
                        } else {
                            State::BlockComment(depth - 1)
                        };
                    } else if (character, next) == ('/', '*') {
                        taken = 2;
                        state = State::BlockComment(depth + 1);
                    }
                }
                State::Text => match character {
                    '\\' => taken = 2,
                    '"' => state = State::Code,
                    _ => {}
                },
                State::RawText(hashes) => {
                    let closes = character == '"' && (1..=hashes).all(|n| at(index + n) == '#');
                    if closes {
                        taken = hashes + 1;
                        state = State::Code;
                    }
                }
            }
            for &passed in &chars[index..(index + taken).min(chars.len())] {
                if passed == '\n' {
                    code.push('\n');
                    comments.push('\n');
                } else {
                    code.push(if is_code { passed } else { ' ' });
                    comments.push(if is_comment { passed } else { ' ' });
                }
            }
            index += taken;
        }
        Self {
            code: code.split('\n').map(str::to_owned).collect(),
            comments: comments.split('\n').map(str::to_owned).collect(),
        }
    }

    /// The code without what stands under `#[cfg(test)]`.
    pub fn without_tests(&self) -> Vec<String> {
        let mut lines = self.code.clone();
        let mut line = 0;
        while line < lines.len() {
            if !squeezed(&lines[line]).contains("#[cfg(test)]") {
                line += 1;
                continue;
            }
            let mut depth = 0usize;
            let mut opened = false;
            while line < lines.len() {
                let taken = std::mem::take(&mut lines[line]);
                line += 1;
                for character in taken.chars() {
                    match character {
                        '{' => {
                            depth += 1;
                            opened = true;
                        }
                        '}' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                }
                let is_item_without_body = !opened && taken.trim_end().ends_with(';');
                if is_item_without_body || (opened && depth == 0) {
                    break;
                }
            }
        }
        lines
    }
}

/// A line without its blanks.
pub fn squeezed(line: &str) -> String {
    line.split_whitespace().collect()
}

/// The places at which `word` stands as a whole word.
pub fn words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).filter_map(move |(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(is_part);
        let after = line[at + word.len()..].chars().next().is_some_and(is_part);
        (!before && !after).then_some(at)
    })
}

fn continues_a_word(chars: &[char], index: usize) -> bool {
    let previous = index.checked_sub(1).map(|before| chars[before]);
    // `br"…"` and `cr"…"` are raw text too.
    let previous = match previous {
        Some('b' | 'c') => index.checked_sub(2).map(|before| chars[before]),
        other => other,
    };
    previous.is_some_and(|character| character.is_alphanumeric() || character == '_')
}

/// Hashes and length of `r##"`.
fn raw_text_opening(chars: &[char]) -> Option<(usize, usize)> {
    let hashes = chars[1..].iter().take_while(|c| **c == '#').count();
    (chars.get(1 + hashes) == Some(&'"')).then_some((hashes, hashes + 2))
}

/// The length of a character literal; `None` for a lifetime.
fn character_literal(chars: &[char]) -> Option<usize> {
    if chars.get(1) == Some(&'\\') {
        let end = chars[3..].iter().position(|c| *c == '\'')?;
        return Some(end + 4);
    }
    (chars.get(2) == Some(&'\'')).then_some(3)
}

#[test]
fn comments_and_text_are_not_code() {
    let source = Source::parse(concat!(
        "let a = \"unsafe \\\" {\"; // unsafe one\n",
        "let b = r#\"unsafe \" \"#; /* unsafe /* two */ still */ code();\n",
        "let c: &'static str = x('\"', '\\'', '{', b'\\n'); tail();\n",
    ));
    assert!(source.code.iter().all(|line| !line.contains("unsafe")));
    assert!(source.code[1].contains("code();"));
    assert!(source.code[2].contains("&'static str"));
    assert!(source.code[2].contains("tail();") && !source.code[2].contains('{'));
    assert!(source.comments[0].contains("unsafe one"));
    assert!(source.comments[1].contains("still") && !source.comments[1].contains("code"));
}

#[test]
fn text_over_several_lines_keeps_the_line_numbers() {
    let source = Source::parse("a(\"one\ntwo\");\nb();\n");
    assert_eq!(source.code[2], "b();");
}

#[test]
fn tests_can_be_left_out() {
    let source = Source::parse(
        "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { x(); }\n}\nfn c() {}\n#[cfg(test)]\nuse std::fs;\nfn d() {}\n",
    );
    let code = source.without_tests().join("\n");
    assert!(code.contains("fn a") && code.contains("fn c") && code.contains("fn d"));
    assert!(!code.contains("fn b") && !code.contains("std::fs"));
}

#[test]
fn a_word_is_not_a_part_of_a_word() {
    assert_eq!(
        words("unsafe_code unsafe{", "unsafe").collect::<Vec<_>>(),
        [12]
    );
}
