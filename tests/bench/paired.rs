//! Measuring things against each other, in the same minutes on the same machine.
//!
//! Absolute times drift by a tenth and more while a machine does other things; ratios of runs that alternate hardly do. So nothing
//! here is ever measured alone, and what is reported is a ratio of medians, with how far it wandered from block to block.

use std::time::Duration;

/// One thing to measure: called again and again, it returns what one run took.
pub struct Subject<'a> {
    pub name: &'a str,
    pub run: Box<dyn FnMut() -> Duration + 'a>,
}

impl<'a> Subject<'a> {
    pub fn new(name: &'a str, run: impl FnMut() -> Duration + 'a) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }
}

/// What was measured of one subject, in the order of the rounds.
pub struct Sample {
    pub name: String,
    times: Vec<Duration>,
}

/// How often one was the other.
pub struct Ratio {
    pub of_medians: f64,
    pub low: f64,
    pub high: f64,
}

/// Rounds before those that count: caches, allocator, frequency.
const WARM_UP: usize = 5;
/// Blocks of rounds, each of which gives a ratio of its own.
const BLOCKS: usize = 10;

/// Runs all subjects once in each round, each round beginning with another one.
pub fn measure(rounds: usize, subjects: Vec<Subject<'_>>) -> Vec<Sample> {
    measure_after(WARM_UP, rounds, subjects)
}

/// The same after so many rounds that do not count.
pub fn measure_after(warm_up: usize, rounds: usize, mut subjects: Vec<Subject<'_>>) -> Vec<Sample> {
    let mut samples: Vec<Sample> = subjects
        .iter()
        .map(|subject| Sample {
            name: subject.name.to_owned(),
            times: Vec::with_capacity(rounds),
        })
        .collect();
    for round in 0..warm_up + rounds {
        for step in 0..subjects.len() {
            let at = (round + step) % subjects.len();
            let took = (subjects[at].run)();
            if round >= warm_up {
                samples[at].times.push(took);
            }
        }
    }
    samples
}

impl Sample {
    pub fn median(&self) -> Duration {
        median(&self.times)
    }

    /// How much longer this took than `other`, which was measured in the same rounds.
    pub fn ratio_to(&self, other: &Self) -> Ratio {
        let block = self.times.len().div_ceil(BLOCKS).max(1);
        let mut ratios: Vec<f64> = self
            .times
            .chunks(block)
            .zip(other.times.chunks(block))
            .map(|(own, others)| quotient(median(own), median(others)))
            .collect();
        ratios.sort_by(f64::total_cmp);
        // Without the outermost blocks: one hiccup of the machine is no spread.
        let cut = usize::from(ratios.len() > 4);
        Ratio {
            of_medians: quotient(self.median(), other.median()),
            low: ratios[cut],
            high: ratios[ratios.len() - 1 - cut],
        }
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

fn quotient(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}
