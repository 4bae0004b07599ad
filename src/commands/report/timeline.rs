//! When a run was busy: a picture of it, without any script.

use super::record::{Answer, Run, micros};
use std::fmt::Write;

/// So wide and so high is the picture, in units of its own.
const WIDTH: usize = 960;
const HEIGHT: usize = 64;
/// So many moments are told apart.
const MOMENTS: usize = 160;

/// What was answered how often in each moment, as SVG. `None`: there is nothing to show, or nobody knows when it was.
pub fn timeline(run: &Run) -> Option<String> {
    let start = micros(&run.started)?;
    let total = run.micros()?.max(1);
    let mut moments = vec![[0usize; Answer::ALL.len()]; MOMENTS];
    let mut any = false;
    for decision in &run.decisions {
        let Some(at) = micros(&decision.at).and_then(|at| at.checked_sub(start)) else {
            continue;
        };
        // A clock that was set back and forth puts it at the edge.
        let moment = (u128::from(at) * MOMENTS as u128 / u128::from(total)) as usize;
        let row = Answer::ALL
            .iter()
            .position(|answer| *answer == decision.answer)?;
        moments[moment.min(MOMENTS - 1)][row] += 1;
        any = true;
    }
    if !any {
        return None;
    }
    let most = moments.iter().map(|counts| counts.iter().sum()).max();
    let most: usize = most.unwrap_or(1).max(1);
    let mut drawn = format!(
        "<svg class=\"timeline\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"decisions over time\">\n"
    );
    let step = WIDTH / MOMENTS;
    for (moment, counts) in moments.iter().enumerate() {
        let mut floor = HEIGHT;
        for (answer, count) in Answer::ALL.iter().zip(counts) {
            if *count == 0 {
                continue;
            }
            // One among thousands is to be seen as well.
            let high = (count * (HEIGHT - 12)).div_ceil(most).max(4).min(floor);
            floor -= high;
            let from = u128::from(total) * moment as u128 / MOMENTS as u128 / 1000;
            let _infallible = writeln!(
                drawn,
                "<rect class=\"{0}\" x=\"{1}\" y=\"{floor}\" width=\"{2}\" height=\"{high}\"><title>{count} {0}, {from} ms after the start</title></rect>",
                answer.name(),
                moment * step,
                step - 1,
            );
        }
    }
    drawn.push_str("</svg>\n");
    Some(drawn)
}
