//! Two texts, line by line: what is gone and what is new.

/// Lines that are the same around what is not.
const CONTEXT: usize = 2;

/// What changed, as `diff -u` has it without the numbers. Nothing: they are the same.
pub fn shown(before: &str, after: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) =
        (before.lines().collect(), after.lines().collect());
    // The longest common lines from each pair of lines on.
    let mut common = vec![vec![0usize; after.len() + 1]; before.len() + 1];
    for (i, old) in before.iter().enumerate().rev() {
        for (j, new) in after.iter().enumerate().rev() {
            common[i][j] = match old == new {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            lines.push((' ', before[i]));
            (i, j) = (i + 1, j + 1);
        } else if j < after.len() && (i == before.len() || common[i][j + 1] > common[i + 1][j]) {
            lines.push(('+', after[j]));
            j += 1;
        } else {
            lines.push(('-', before[i]));
            i += 1;
        }
    }
    let is_near = |at: usize| {
        let from = at.saturating_sub(CONTEXT);
        let to = (at + CONTEXT + 1).min(lines.len());
        lines[from..to].iter().any(|(mark, _)| *mark != ' ')
    };
    let shown = (0..lines.len()).filter(|at| is_near(*at));
    shown
        .map(|at| format!("{}{}\n", lines[at].0, lines[at].1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn what_is_new_is_shown_with_what_stands_around_it() {
        let before = "a\nb\nc\nd\ne\nf\n";
        assert_eq!(shown(before, before), "");
        assert_eq!(
            shown(before, "a\nb\nc\nnew\nd\ne\nf\n"),
            " b\n c\n+new\n d\n e\n"
        );
        assert_eq!(shown("a\n", "b\n"), "-a\n+b\n");
    }
}
