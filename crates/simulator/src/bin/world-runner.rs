//! Runs worlds: ranges of seeds, one again, smaller ones, planted bugs, a crash at every call, and proof
//! that a seed is a world. The one place with a seeded `getrandom`, so that hash keys and the order of
//! tasks come from the seed too. What a world is stands in the library.

use std::collections::BTreeMap;
use std::io::{BufReader, stdin, stdout};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use clap::{Parser, Subcommand};
use crossfade_simulator::runner::judge::Calm;
use crossfade_simulator::runner::shrink::{law, shrink};
use crossfade_simulator::runner::work::work;
use crossfade_simulator::runner::{Done, Faults, Item, pool};
use crossfade_simulator::trace::lock;
use crossfade_simulator::{planted, scenario};

/// Seeded entropy: the standard library asks `getrandom` for the keys of its hash maps and tokio makes
/// the seeds of its tasks' order from them. The symbol here takes the place of libc's.
#[allow(
    unsafe_code,
    reason = "a C symbol that writes into the caller's buffer"
)]
mod entropy {
    use std::cell::Cell;

    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0x9e37_79b9_7f4a_7c15) };
    }

    /// What this thread draws from now on is a function of the seed.
    pub fn pin(seed: u64) {
        STATE.set(seed ^ 0x9e37_79b9_7f4a_7c15);
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014).
    fn next() -> u64 {
        let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        STATE.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// `getrandom(2)`: fills the buffer and returns its length.
    #[unsafe(no_mangle)]
    extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
        for place in 0..length {
            let byte = next().to_le_bytes()[0];
            // SAFETY: the caller owns `length` bytes at `buffer`, by the contract of getrandom(2).
            unsafe { buffer.add(place).write(byte) };
        }
        isize::try_from(length).unwrap_or(isize::MAX)
    }
}

/// A third of a world's time is memory for small values.
#[cfg(feature = "worlds")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "world-runner", version)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Worlds of a range of seeds.
    Run {
        /// First and last+1, such as 0..20000.
        #[arg(long, value_parser = range)]
        seeds: (u64, u64),
        /// Worker processes.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// This scenario instead of the drawn ones.
        #[arg(long)]
        scenario: Option<String>,
        /// Goes on after so many failing worlds; 0: shows all.
        #[arg(long, default_value_t = 10)]
        show: usize,
    },
    /// Every named scenario once without faults and once with every effect twice.
    Scenarios {
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// One world again.
    Replay {
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long)]
        scenario: Option<String>,
        /// A planted bug.
        #[arg(long)]
        planted: Option<String>,
        /// Without faults.
        #[arg(long)]
        calm: bool,
        /// A crash at this call.
        #[arg(long)]
        crash_at: Option<u64>,
        /// That call is carried out before the crash.
        #[arg(long)]
        carried_out: bool,
        /// An item as JSON, as `run` and `shrink` print it; the rest is ignored.
        #[arg(long)]
        item: Option<String>,
        /// Every line, not the last fifty.
        #[arg(long)]
        whole: bool,
    },
    /// Leaves out faults one at a time.
    Shrink {
        #[arg(long)]
        seed: u64,
        #[arg(long)]
        scenario: Option<String>,
    },
    /// Which seed catches each planted bug.
    Planted {
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Most seeds for each.
        #[arg(long, default_value_t = 2_000)]
        seeds: u64,
        /// Only this one; may be given several times.
        #[arg(long = "name")]
        names: Vec<String>,
    },
    /// A crash before and after each call of each scenario.
    CrashEverywhere {
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        #[arg(long)]
        scenario: Option<String>,
        /// Only each so many calls.
        #[arg(long, default_value_t = 1)]
        every: u64,
    },
    /// The same seeds in other processes and at other places: the same traces.
    Determinism {
        #[arg(long, value_parser = range, default_value = "0..40")]
        seeds: (u64, u64),
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// A worker, for the others.
    #[command(hide = true)]
    Work,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once("..").ok_or("write A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    Ok((number(from)?, number(to)?))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let good = match arguments.command {
        Task::Work => match work(BufReader::new(stdin()), stdout(), entropy::pin) {
            Ok(()) => true,
            Err(error) => {
                eprintln!("world-runner: {error}");
                false
            }
        },
        Task::Run {
            seeds,
            jobs,
            scenario,
            show,
        } => run(seeds, jobs, scenario.as_deref(), show),
        Task::Scenarios { jobs } => scenarios(jobs),
        Task::Replay {
            seed,
            scenario,
            planted,
            calm,
            crash_at,
            carried_out,
            item,
            whole,
        } => {
            let faults = match (calm, crash_at) {
                (true, _) => Faults::None,
                (false, Some(call)) => Faults::CrashAt { call, carried_out },
                (false, None) => Faults::Drawn {
                    without: Vec::new(),
                },
            };
            let given = Item {
                seed,
                scenario,
                planted,
                faults,
                ..Item::default()
            };
            match item.map_or(Ok(given), |text| serde_json::from_str(&text)) {
                Ok(item) => replay(Item { whole, ..item }),
                Err(error) => {
                    eprintln!("world-runner: --item: {error}");
                    false
                }
            }
        }
        Task::Shrink { seed, scenario } => smaller(&Item {
            scenario,
            ..Item::of_seed(seed)
        }),
        Task::Planted { jobs, seeds, names } => plant(jobs, seeds, &names),
        Task::CrashEverywhere {
            jobs,
            scenario,
            every,
        } => crash_everywhere(jobs, scenario.as_deref(), every),
        Task::Determinism { seeds, jobs } => determinism(seeds, jobs),
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A failing world: seed and scenario first.
fn tell(done: &Done) {
    let item = serde_json::to_string(&done.item).unwrap_or_default();
    println!("seed {} scenario {}", done.item.seed, done.scenario);
    println!("  item {item}");
    for fault in &done.faults {
        println!("  fault {fault}");
    }
    for (_, words) in &done.violations {
        println!("  {words}");
    }
}

fn run(seeds: (u64, u64), jobs: usize, scenario: Option<&str>, show: usize) -> bool {
    let calm = Calm::default();
    let items: Vec<Item> = (seeds.0..seeds.1)
        .map(|seed| Item {
            scenario: scenario.map(str::to_owned),
            ..Item::of_seed(seed)
        })
        .collect();
    let (count, began) = (items.len(), Instant::now());
    let found: Mutex<(BTreeMap<String, usize>, Totals)> = Mutex::default();
    pool::run(items, jobs, |mut done| {
        calm.compare(&mut done);
        let mut found = lock(&found);
        found.1.add(&done);
        if let Some(law) = law(&done) {
            *found.0.entry(law.to_owned()).or_default() += 1;
            if show == 0 || found.1.failed <= show {
                tell(&done);
            }
        }
        true
    });
    let (laws, totals) = found.into_inner().unwrap_or_default();
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    println!(
        "{count} worlds, {} failed {laws:?}; {:.0} a minute with {jobs} jobs; {} calls, {} writes, {} crashes, {} h simulated",
        totals.failed,
        count as f64 / minutes.max(1e-9),
        totals.calls,
        totals.writes,
        totals.crashes,
        totals.seconds / 3600
    );
    totals.failed == 0
}

#[derive(Debug, Default)]
struct Totals {
    failed: usize,
    calls: u64,
    writes: u64,
    crashes: u64,
    seconds: u64,
}

impl Totals {
    fn add(&mut self, done: &Done) {
        self.failed += usize::from(!done.violations.is_empty());
        self.calls += done.calls;
        self.writes += done.writes;
        self.crashes += u64::from(done.crashes);
        self.seconds += done.simulated_seconds;
    }
}

fn scenarios(jobs: usize) -> bool {
    let calm = Calm::default();
    let failed = Mutex::new(0);
    // The calm runs first: what has every effect twice is compared with them.
    for (word, faults) in [("calm", Faults::None), ("twice", Faults::Twice)] {
        let items = scenario::all()
            .iter()
            .map(|scenario| Item {
                faults: faults.clone(),
                ..Item::calm(scenario.name)
            })
            .collect();
        pool::run(items, jobs, |mut done| {
            if faults == Faults::None {
                calm.know(&done);
            } else {
                calm.compare(&mut done);
            }
            println!(
                "{:<40} {word:<6} {:>5} calls {:>4} writes {:>6} s {}",
                done.scenario,
                done.calls,
                done.writes,
                done.simulated_seconds,
                if done.violations.is_empty() {
                    "ok"
                } else {
                    "FAILED"
                }
            );
            if !done.violations.is_empty() {
                *lock(&failed) += 1;
                tell(&done);
            }
            true
        });
    }
    failed.into_inner().unwrap_or(1) == 0
}

fn replay(item: Item) -> bool {
    let mut done = pool::single(item);
    Calm::default().compare(&mut done);
    tell(&done);
    for line in &done.trace {
        println!("{line}");
    }
    println!(
        "{} violations, {} calls, {} writes, {} s simulated, {} lines, {:016x}",
        done.violations.len(),
        done.calls,
        done.writes,
        done.simulated_seconds,
        done.lines,
        done.digest
    );
    done.violations.is_empty()
}

fn smaller(item: &Item) -> bool {
    match shrink(item, &Calm::default()) {
        None => {
            println!("seed {} does not fail", item.seed);
            true
        }
        Some((faults, mut done)) => {
            done.item = Item {
                faults: Faults::These(faults),
                ..item.clone()
            };
            tell(&done);
            for line in &done.trace {
                println!("{line}");
            }
            false
        }
    }
}

fn plant(jobs: usize, seeds: u64, names: &[String]) -> bool {
    if let Some(name) = names.iter().find(|name| planted::named(name).is_none()) {
        eprintln!("world-runner: --name: no planted bug {name}");
        return false;
    }
    let calm = Calm::default();
    println!(
        "{:<34} {:>6} {:<12} {:<36} oracle",
        "bug", "seed", "law", "scenario"
    );
    let mut all = true;
    for bug in planted::all() {
        if !names.is_empty() && !names.iter().any(|name| name == bug.name) {
            continue;
        }
        let caught = first(bug.name, seeds, jobs, &calm);
        match caught {
            Some(done) => {
                let (law, words) = done.violations.first().cloned().unwrap_or_default();
                println!(
                    "{:<34} {:>6} {law:<12} {:<36} {words}",
                    bug.name, done.item.seed, done.scenario
                );
            }
            None => {
                all = false;
                println!("{:<34} {:>6} not caught: {}", bug.name, "-", bug.what);
            }
        }
    }
    all
}

/// The first seed that fails with the bug and not without it.
fn first(bug: &str, seeds: u64, jobs: usize, calm: &Calm) -> Option<Done> {
    let mut from = 0;
    while from < seeds {
        // Groups grow: most bugs are caught by one of the first seeds.
        let to = (from + if from < 64 { 32 } else { 128 }).min(seeds);
        let items = (from..to)
            .map(|seed| Item {
                planted: Some(bug.to_owned()),
                quiet: Some(600),
                ..Item::of_seed(seed)
            })
            .collect();
        let found: Mutex<Vec<Done>> = Mutex::default();
        pool::run(items, jobs, |mut done| {
            calm.compare(&mut done);
            if !done.violations.is_empty() {
                lock(&found).push(done);
            }
            true
        });
        let mut found = found.into_inner().unwrap_or_default();
        found.sort_by_key(|done| done.item.seed);
        for done in found {
            let mut without = pool::single(Item {
                planted: None,
                ..done.item.clone()
            });
            calm.compare(&mut without);
            if without.violations.is_empty() {
                return Some(done);
            }
        }
        from = to;
    }
    None
}

fn crash_everywhere(jobs: usize, only: Option<&str>, every: u64) -> bool {
    let calm = Calm::default();
    let mut good = true;
    let (mut worlds, mut failed) = (0, 0);
    for scenario in scenario::all() {
        if only.is_some_and(|only| only != scenario.name) {
            continue;
        }
        let whole = pool::single(Item {
            quiet: Some(0),
            ..Item::calm(scenario.name)
        });
        let items: Vec<Item> = (1..=whole.calls)
            .filter(|call| call % every == 0)
            .flat_map(|call| {
                [false, true].map(|carried_out| Item {
                    faults: Faults::CrashAt { call, carried_out },
                    quiet: Some(120),
                    ..Item::calm(scenario.name)
                })
            })
            .collect();
        let count = items.len();
        let found = Mutex::new((0, 0));
        pool::run(items, jobs, |mut done| {
            calm.compare(&mut done);
            let mut found = lock(&found);
            found.0 += u64::from(done.crashes > 0);
            if !done.violations.is_empty() {
                found.1 += 1;
                if found.1 <= 3 {
                    tell(&done);
                }
            }
            true
        });
        let (crashed, wrong) = found.into_inner().unwrap_or_default();
        println!(
            "{:<40} {:>4} calls {count:>5} worlds {crashed:>5} crashed {wrong:>3} failed",
            scenario.name, whole.calls
        );
        worlds += count;
        failed += wrong;
        good &= wrong == 0;
    }
    println!("{worlds} worlds, {failed} failed");
    good
}

fn determinism(seeds: (u64, u64), jobs: usize) -> bool {
    let item = |seed| Item {
        whole: true,
        quiet: Some(60),
        ..Item::of_seed(seed)
    };
    let together: Mutex<BTreeMap<u64, Vec<String>>> = Mutex::default();
    pool::run((seeds.0..seeds.1).map(item).collect(), jobs, |done| {
        lock(&together).insert(done.item.seed, done.trace);
        true
    });
    let together = together.into_inner().unwrap_or_default();
    let mut lines = 0;
    for (seed, trace) in &together {
        let alone = pool::single(item(*seed)).trace;
        lines += trace.len();
        if let Some(place) =
            (0..trace.len().max(alone.len())).find(|place| trace.get(*place) != alone.get(*place))
        {
            println!("seed {seed} differs at line {place}:");
            println!("  {}", trace.get(place).map_or("-", String::as_str));
            println!("  {}", alone.get(place).map_or("-", String::as_str));
            return false;
        }
    }
    println!(
        "{} worlds, {lines} lines: equal in other processes and at other places",
        together.len()
    );
    !together.is_empty()
}
