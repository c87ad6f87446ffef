//! Worker processes side by side: items are given out in groups, results come back as they are ready.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Done, Item};
use crate::trace::lock;

/// Groups items so that within a group each stands at a later place than the one before.
#[must_use]
pub fn groups(items: Vec<Item>) -> VecDeque<Vec<Item>> {
    let mut groups: VecDeque<Vec<Item>> = VecDeque::new();
    for item in items {
        match groups.back_mut() {
            Some(group) if group.last().is_some_and(|last| last.place() < item.place()) => {
                group.push(item)
            }
            _ => groups.push_back(vec![item]),
        }
    }
    groups
}

/// Runs items in `jobs` worker processes. `each` is told every result, in any order; when it returns
/// false no further group is begun.
pub fn run(items: Vec<Item>, jobs: usize, each: impl FnMut(Done) -> bool + Send) {
    let waiting = Mutex::new(groups(items));
    let each = Mutex::new(each);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let Some(group) = lock(&waiting).pop_front() else {
                        return;
                    };
                    let mut left = group.as_slice();
                    while let Some(first) = left.first() {
                        let answered = worker(left, |done| {
                            if !lock(&each)(done) {
                                stop.store(true, Ordering::Relaxed);
                            }
                        });
                        let (count, why) = answered;
                        left = left.get(count..).unwrap_or_default();
                        let (Some(why), Some(failed)) = (why, left.first()) else {
                            continue;
                        };
                        let _ = first;
                        // The worker ended over this one; the next ones get another.
                        let done = Done {
                            item: failed.clone(),
                            violations: vec![("process".to_owned(), why)],
                            ..Done::default()
                        };
                        if !lock(&each)(done) {
                            stop.store(true, Ordering::Relaxed);
                        }
                        left = left.get(1..).unwrap_or_default();
                    }
                }
            });
        }
    });
}

/// One worker for a group: how many it answered, and why not all.
fn worker(items: &[Item], mut each: impl FnMut(Done)) -> (usize, Option<String>) {
    let mut answered = 0;
    match exchange(items, |done| {
        answered += 1;
        each(done);
    }) {
        Ok(()) if answered == items.len() => (answered, None),
        Ok(()) => (
            answered,
            Some("the worker ended without an answer".to_owned()),
        ),
        Err(error) => (answered, Some(error)),
    }
}

fn exchange(items: &[Item], mut each: impl FnMut(Done)) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    let program = std::env::current_exe().map_err(words)?;
    let mut child = Command::new(program)
        .arg("work")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(words)?;
    let mut lines = String::new();
    for item in items {
        lines.push_str(&serde_json::to_string(item).map_err(|error| error.to_string())?);
        lines.push('\n');
    }
    let input = child.stdin.take();
    let output = child.stdout.take().ok_or("no output")?;
    let read = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A worker that ended does not take the rest.
            let _ = input.map(|mut input| input.write_all(lines.as_bytes()));
        });
        for line in BufReader::new(output).lines() {
            let line = line.map_err(words)?;
            each(serde_json::from_str(&line).map_err(|error| error.to_string())?);
        }
        Ok::<(), String>(())
    });
    let ended = child.wait().map_err(words)?;
    read?;
    if ended.success() {
        Ok(())
    } else {
        Err(format!("the worker ended with {ended}"))
    }
}

/// Runs a single item in a process of its own.
#[must_use]
pub fn single(item: Item) -> Done {
    let result = Mutex::new(Done::default());
    run(vec![item], 1, |done| {
        *lock(&result) = done;
        true
    });
    result.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_rise_within_a_group() {
        let all: Vec<Item> = (60..200).map(Item::of_seed).collect();
        let groups = groups(all.clone());
        assert_eq!(groups.len(), 4);
        assert_eq!(groups.iter().flatten().cloned().collect::<Vec<_>>(), all);
    }
}
