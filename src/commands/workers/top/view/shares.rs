//! How many lines each part of the screen gets.

/// How many each could use, with what stands above it.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// All sessions.
    pub sessions: usize,
    /// The list of what waits; 0: there is none.
    pub questions: usize,
    /// The question that is looked at; 0: none is.
    pub question: usize,
    /// What happened.
    pub events: usize,
}

/// How many it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// Sessions.
    pub sessions: usize,
    /// The list.
    pub questions: usize,
    /// The question.
    pub question: usize,
    /// What happened.
    pub events: usize,
}

/// What stands above a part, and one line of it.
const LEAST: usize = 2;

/// The question that is looked at comes first, since it can be allowed only as a whole; then a line of each list; what is left is
/// dealt out.
pub fn shares(rows: usize, wants: &Wants) -> Shares {
    let mut left = rows;
    let mut take = |wanted: usize| {
        let share = wanted.min(left);
        left -= share;
        share
    };
    let question = take(wants.question);
    // Without the line below it, what stands above says nothing.
    let mut least = |wanted: usize| match take(wanted.min(LEAST)) {
        1 => 0,
        share => share,
    };
    let mut lists = [
        (least(wants.questions), wants.questions),
        (least(wants.sessions), wants.sessions),
        (least(wants.events), wants.events),
    ];
    let mut left = rows - question - lists.iter().map(|(share, _)| share).sum::<usize>();
    while left > 0 {
        let open = lists
            .iter_mut()
            .filter(|(share, want)| share < want && *share > 0);
        let Some((share, _)) = open.min_by_key(|(share, _)| *share) else {
            break;
        };
        *share += 1;
        left -= 1;
    }
    let [(questions, _), (sessions, _), (events, _)] = lists;
    Shares {
        sessions,
        questions,
        question,
        events,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wants(sessions: usize, questions: usize, question: usize, events: usize) -> Wants {
        Wants {
            sessions,
            questions,
            question,
            events,
        }
    }

    #[test]
    fn the_question_comes_first_and_the_rest_is_dealt_out() {
        let all = |rows, wants: Wants| {
            let shares = shares(rows, &wants);
            [
                shares.sessions,
                shares.questions,
                shares.question,
                shares.events,
            ]
        };
        assert_eq!(all(22, wants(3, 4, 9, 100)), [3, 4, 9, 6]);
        assert_eq!(all(22, wants(3, 0, 0, 100)), [3, 0, 0, 19]);
        assert_eq!(all(22, wants(50, 40, 9, 100)), [4, 5, 9, 4]);
        assert_eq!(all(12, wants(50, 40, 9, 100)), [0, 3, 9, 0]);
        assert_eq!(all(10, wants(50, 40, 9, 100)), [0, 0, 9, 0]);
        assert_eq!(all(12, wants(50, 40, 60, 100)), [0, 0, 12, 0]);
    }

    proptest! {
        #[test]
        fn nothing_gets_more_than_there_is_or_than_it_wants(
            rows in 0usize..60, one in 1usize..80, two in 0usize..80, three in 0usize..80, four in 1usize..80,
        ) {
            let wants = wants(one, two, three, four);
            let got = shares(rows, &wants);
            prop_assert!(got.sessions + got.questions + got.question + got.events <= rows);
            prop_assert!(got.sessions <= one && got.questions <= two && got.question <= three && got.events <= four);
            prop_assert_eq!(got.question, three.min(rows));
        }
    }
}
