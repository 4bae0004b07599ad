//! Words of a shell's line: quotes, backslashes, comments. Nothing is expanded.

/// The words that stand behind the program's name in a script.
///
/// # Errors
/// It is not started there, or a quote is open.
pub fn of_program(text: &str, program: &str) -> Result<Vec<String>, String> {
    let words = split(text)?;
    let is_it = |word: &&String| word.rsplit('/').next() == Some(program);
    match words.iter().position(|word| is_it(&word)) {
        Some(at) => Ok(words[at + 1..].to_vec()),
        // Only the flags.
        None if words.first().is_some_and(|word| word.starts_with("--")) => Ok(words),
        None => Err(format!("{program} is not started there")),
    }
}

/// The words of a text.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('\n') | None => {}
                Some(escaped) => word.get_or_insert_default().push(escaped),
            },
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next() {
                        None => return Err("a quote is not closed".to_owned()),
                        Some(end) if end == character => break,
                        Some('\\') if character == '"' => match characters.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            Some('\n') | None => {}
                            Some(c) => word.extend(['\\', c]),
                        },
                        Some(inner) => word.push(inner),
                    }
                }
            }
            '#' if word.is_none() => while characters.next_if(|c| *c != '\n').is_some() {},
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Flags and their operands, one after the other: `--name value` or `--name=value`.
pub struct Flags<'a> {
    words: &'a [String],
    /// What stood behind a `=`.
    attached: Option<&'a str>,
}

impl<'a> Flags<'a> {
    /// Of these words.
    pub fn new(words: &'a [String]) -> Self {
        Self {
            words,
            attached: None,
        }
    }

    /// The next flag; `None`: what follows is the command.
    pub fn flag(&mut self) -> Option<&'a str> {
        let word = self.words.first()?;
        if word == "--" {
            self.words = &self.words[1..];
            return None;
        }
        if !word.starts_with('-') {
            return None;
        }
        self.words = &self.words[1..];
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        self.attached = attached;
        Some(name)
    }

    /// An operand of the last flag.
    ///
    /// # Errors
    /// There is none.
    pub fn operand(&mut self, flag: &str) -> Result<&'a str, String> {
        if let Some(attached) = self.attached.take() {
            return Ok(attached);
        }
        let Some((next, rest)) = self.words.split_first() else {
            return Err(format!("{flag} needs an operand"));
        };
        self.words = rest;
        Ok(next)
    }

    /// The command and its arguments, where no flag is left.
    pub fn command(self) -> &'a [String] {
        self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        let text =
            "# first\nexec /usr/bin/bwrap --bind 'a b' \"c\\\"d\" \\\n  --dev /dev e\\ f # rest\n";
        let words = of_program(text, "bwrap").unwrap();
        assert_eq!(words, ["--bind", "a b", "c\"d", "--dev", "/dev", "e f"]);
        assert!(of_program("bwrap 'x", "bwrap").is_err());
        assert!(of_program("ls", "bwrap").is_err());
    }
    #[test]
    fn behind_the_flags_stands_the_command() {
        let split = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
        for (line, command) in [
            ("--a 1 --b=2 ls --a", "ls --a"),
            ("--a 1 -- --b=2", "--b=2"),
            ("--a 1 -- ls -- x", "ls -- x"),
        ] {
            let words = split(line);
            let mut flags = Flags::new(&words);
            while let Some(flag) = flags.flag() {
                flags.operand(flag).unwrap();
            }
            assert_eq!(flags.command(), split(command), "{line}");
        }
    }
}
