//! `plan`: what a release would do, resolved by the planner itself, from a cluster or from files. Changes
//! nothing.

use serde_json::json;

use crate::args::Plan;
use crate::cluster::Cluster;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::show::{forecast, forecast_table};
use crate::subject::Subject;

/// From a cluster.
pub async fn run(cluster: &Cluster, arguments: &Plan) -> Result<Exit, Failure> {
    let mut subject = Subject::from_cluster(cluster, arguments.workload.as_deref()).await?;
    subject.replicas = arguments.replicas;
    show(&subject, arguments)
}

/// From files; needs no cluster.
pub fn from_files(arguments: &Plan) -> Result<Exit, Failure> {
    let subject = Subject::from_files(
        &arguments.filename,
        arguments.workload.as_deref(),
        arguments.replicas,
    )?;
    show(&subject, arguments)
}

fn show(subject: &Subject, arguments: &Plan) -> Result<Exit, Failure> {
    let validated = subject.validated();
    let problems = subject.problems(&validated);
    let forecast = forecast(&validated.plan, subject.replicas());
    let services: Vec<&str> = (subject.services.iter())
        .map(|service| service.name.as_str())
        .collect();
    if let Some(format) = arguments.output {
        let value = json!({
            "kind": "Plan",
            "metadata": { "name": subject.name },
            "forecast": forecast, "plan": validated.plan, "services": services,
            "sources": validated.sources, "problems": problems, "notes": subject.notes,
        });
        output::print(&value, format)?;
    } else {
        let mut text = format!("{}, {} pods", subject.name, forecast.replicas);
        if !services.is_empty() {
            text.push_str(&format!(", Services {}", services.join(", ")));
        }
        text.push_str(&format!("\n\n{}\n", forecast_table(&forecast)));
        for (field, source) in validated
            .sources
            .iter()
            .filter(|(_, source)| *source != "built in")
        {
            text.push_str(&format!("  {field}: {source}\n"));
        }
        text.push_str("  all else: built in\n");
        output::say(&text)?;
        for note in &subject.notes {
            eprintln!("note: {note}");
        }
    }
    if problems.is_empty() {
        return Ok(Exit::Done);
    }
    Err(Failure::new(format!(
        "no release would start: {}",
        problems.join("; ")
    )))
}
