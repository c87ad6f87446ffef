//! `simulate`: the user's own plan against assumed faults and traffic. The runs are the simulator's.

use crossfade_simulator::simulate::{Answers, Fault, Question, Spread, simulate};

use crate::args::{Format, Simulate};
use crate::called;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::show::table;
use crate::subject::Subject;

pub async fn run(arguments: &Simulate) -> Result<Exit, Failure> {
    let usage = |why: String| Failure::new(why).exit(Exit::Usage);
    if arguments.output == Some(Format::Name) {
        return Err(usage(
            "answers have no names; write -o json or -o yaml".to_owned(),
        ));
    }
    if !(arguments.rate.is_finite() && arguments.rate > 0.0 && arguments.rate <= 1e6) {
        return Err(usage(format!(
            "--rate {}: write requests per second, above 0 and at most 1000000",
            arguments.rate
        )));
    }
    let base_errors = match arguments.base_errors {
        Fault::Errors(share) => share,
        other => {
            return Err(usage(format!(
                "--base-errors {other}: write an error rate, for example 0.1%"
            )));
        }
    };
    let subject = Subject::from_files(
        &arguments.filename,
        arguments.workload.as_deref(),
        arguments.replicas,
    )?;
    let validated = subject.validated();
    let problems = subject.problems(&validated);
    if !problems.is_empty() {
        return Err(
            Failure::new(format!("no release would start: {}", problems.join("; "))).next(format!(
                "{} shows the plan and what is wrong with it",
                called::ours().crossfade(None, "plan -f FILE")
            )),
        );
    }
    for note in &subject.notes {
        eprintln!("note: {note}");
    }
    let faults = match arguments.faults.as_slice() {
        // No worse than the old version, then worse and worse.
        [] => [base_errors, base_errors * 2.0, 0.01, 0.05, 0.2]
            .into_iter()
            .map(|share| Fault::Errors(share.min(1.0)))
            .chain([Fault::NeverReady, Fault::Crash, Fault::NoMetrics])
            .collect(),
        named => named.to_vec(),
    };
    let question = Question {
        replicas: subject.replicas(),
        max_unavailable: subject.max_unavailable(),
        // Files without a Deployment say nothing about Services: one is assumed.
        service: subject.deployment.is_none() || !subject.services.is_empty(),
        validated,
        rate: arguments.rate,
        base_errors,
        faults,
        runs: arguments.runs,
        seed: arguments.seed,
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    };
    // On a thread of its own: an interrupt must not wait for it.
    let (sender, answers) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Nobody listens any more after an interrupt.
        let _ = sender.send(simulate(&question));
    });
    let answers = answers
        .await
        .map_err(|_| Failure::new("a run failed; this is an error of crossfade"))?;
    if let Some(format) = arguments.output {
        let value =
            serde_json::to_value(&answers).map_err(|error| Failure::new(error.to_string()))?;
        output::print(&value, format)?;
    } else {
        output::say(&words(&answers, &subject.name))?;
    }
    Ok(Exit::Done)
}

fn words(answers: &Answers, name: &str) -> String {
    let mut text = format!(
        "{name}: {} pods, {} requests/s, {}% of the old version's answers are errors; {} runs each, seed {}\n\n",
        answers.replicas, answers.rate, answers.base_errors_percent, answers.runs, answers.seed
    );
    let whole = |value: f64| format!("{value:.0}");
    let length = |value: f64| {
        let millis = (value.max(0.0) * 1000.0).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time of at most two weeks, not negative"
        )]
        let seconds = (millis / 1000.0).round() as u64;
        crossfade_api::Duration::from_seconds(seconds).to_string()
    };
    let spread = |spread: Option<Spread>, show: &dyn Fn(f64) -> String| {
        spread.map_or_else(
            || "-".to_owned(),
            |spread| {
                format!(
                    "{} / {} / {}",
                    show(spread.mean),
                    show(spread.p50),
                    show(spread.p95)
                )
            },
        )
    };
    let rows: Vec<Vec<String>> = answers
        .faults
        .iter()
        .map(|answer| {
            let mut fault = answer.fault.clone();
            if answer.tolerated {
                fault.push_str(" (tolerated)");
            }
            vec![
                fault,
                format!("{:.1}%", answer.rolled_back_percent),
                answer.promoted.to_string(),
                answer.waiting.to_string(),
                spread(answer.bad_answers, &whole),
                spread(answer.seconds_to_rollback, &length),
                spread(answer.seconds_to_promotion, &length),
            ]
        })
        .collect();
    text.push_str(&table(
        &[
            "FAULT",
            "ROLLED BACK",
            "PROMOTED",
            "WAITING",
            "BAD ANSWERS BY THEN",
            "TIME TO NO TRAFFIC",
            "TIME TO HAND-OVER",
        ],
        &rows,
    ));
    text.push_str(
        "\nmean / median / 95th percentile. tolerated: no more errors than the judge allows beside the old version; rolling it back is a false alarm\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossfade_simulator::simulate::Answer;

    #[test]
    fn says_false_alarms_and_spreads() {
        let answer = Answer {
            fault: "0.1%".to_owned(),
            tolerated: true,
            runs: 200,
            rolled_back: 1,
            rolled_back_percent: 0.5,
            promoted: 199,
            waiting: 0,
            bad_answers: Some(Spread {
                mean: 12.4,
                p50: 12.0,
                p95: 30.0,
            }),
            answers: None,
            seconds_to_rollback: Some(Spread {
                mean: 61.0,
                p50: 60.0,
                p95: 120.0,
            }),
            seconds_to_promotion: None,
            example: None,
        };
        let answers = Answers {
            runs: 200,
            seed: 1,
            rate: 50.0,
            base_errors_percent: 0.1,
            replicas: 4,
            faults: vec![answer],
        };
        let text = words(&answers, "web");
        for part in [
            "0.1% (tolerated)",
            "0.5%",
            "12 / 12 / 30",
            "1m1s / 1m / 2m",
            "50 requests/s",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
