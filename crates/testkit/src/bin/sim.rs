//! Plays the world simulation: one seed with `--seed N`, or many with `--from N --seeds N`.

use std::{env, process::ExitCode, time::Instant};

use sebastian_testkit::world::{Settings, play, run};

const USAGE: &str = "usage: sim [--seed N] [--from N] [--seeds N] [--hours N] [--quiet]
  --seed N   play this seed and print what happens
  --from N   first of many seeds (default 0)
  --seeds N  how many (default 100)
  --hours N  simulated hours until the last fault (default 8)
  --quiet    with --seed: print the end only";

fn main() -> ExitCode {
    match arguments(env::args().skip(1)) {
        Ok(Arguments { seed: Some(seed), hours, quiet, .. }) => {
            let report = run(seed, &Settings { hours, tells: !quiet, ..Settings::default() });
            report.history.iter().for_each(|line| println!("{line}"));
            println!("{:?}, digest {:016x}", report.figures, report.digest);
            eprint!("{}", if report.broken.is_empty() { String::new() } else { report.in_words() });
            if report.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(Arguments { from, seeds, hours, .. }) => {
            let began = Instant::now();
            let played = play(from..from + seeds, &Settings { hours, ..Settings::default() });
            played.broken.iter().for_each(|report| eprint!("{}", report.in_words()));
            println!("{}", played.in_words());
            println!(
                "{seeds} seeds in {:.1} s, {} broken",
                began.elapsed().as_secs_f64(),
                played.broken.len()
            );
            if played.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

struct Arguments {
    seed: Option<u64>,
    from: u64,
    seeds: u64,
    hours: u64,
    quiet: bool,
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { seed: None, from: 0, seeds: 100, hours: 8, quiet: false };
    while let Some(word) = words.next() {
        if word == "--quiet" {
            arguments.quiet = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word} needs a number"))?;
        let number: u64 = value.parse().map_err(|_| format!("{value} is not a number"))?;
        match word.as_str() {
            "--seed" => arguments.seed = Some(number),
            "--from" => arguments.from = number,
            "--seeds" => arguments.seeds = number,
            "--hours" => arguments.hours = number,
            _ => return Err(format!("{word} is not known")),
        }
    }
    Ok(arguments)
}
