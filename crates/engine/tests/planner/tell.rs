//! The golden report: what a pass says and does, one line each, and how a scenario ended.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crossfade_api::Phase;
use crossfade_engine::effect::SplitTo;
use crossfade_engine::{Decision, Effect};

use crate::run::Run;
use crate::view::millis;
use crate::world::{Millis, Own, image};

impl Run {
    pub fn say(&mut self, text: &str) {
        let _ = writeln!(self.log, "> {text}");
    }

    pub fn show(&mut self, decision: &Decision) {
        let report = &decision.report;
        let mut header = report.phase.as_str().to_owned();
        if report.phase != Phase::Idle
            && let Some(status) = &report.status.step
        {
            if !matches!(report.phase, Phase::RolledBack) {
                let _ = write!(header, "/{:?} step {}", status.state, status.index);
            }
            let side = |side: &Option<crossfade_api::SideStatus>| {
                side.as_ref().map_or_else(String::new, |side| {
                    format!("{}/{}", side.ready, side.replicas)
                })
            };
            let _ = write!(
                header,
                ", weight {}, stable {}, candidate {}",
                status.weight.written,
                side(&report.status.stable),
                side(&report.status.candidate)
            );
        }
        let waited = report.waiting.as_ref().map_or_else(String::new, |waiting| {
            let until = waiting
                .until
                .map_or_else(|| "never".to_owned(), |until| clock(millis(until)));
            format!("{} | until {until} | {}", waiting.text, waiting.then)
        });
        // Numbers in a wait's words move with every measurement; only another wait is worth a line.
        let kind = report.waiting.as_ref().map_or_else(String::new, |waiting| {
            format!("{:?}{:?}{}", waiting.on, waiting.until, waiting.then)
        });
        if header == self.shown
            && kind == self.waited
            && decision.effects.is_empty()
            && report.events.is_empty()
        {
            return;
        }
        if header != self.shown {
            let _ = writeln!(self.log, "{:>7} {header}", clock(self.world.now));
            self.shown.clone_from(&header);
        } else if kind != self.waited || !decision.effects.is_empty() || !report.events.is_empty() {
            let _ = writeln!(self.log, "{:>7}", clock(self.world.now));
        }
        for event in &report.events {
            let mark = if event.warning { "!" } else { "." };
            self.line(&format!("{mark} {}: {}", event.reason, event.message));
        }
        for effect in &decision.effects {
            let text = self.effect(effect);
            self.line(&format!(
                "-> {text}{}",
                if decision.effects_first {
                    " (first)"
                } else {
                    ""
                }
            ));
        }
        if kind != self.waited {
            if !waited.is_empty() {
                self.line(&format!("waits: {waited}"));
            }
            self.waited = kind;
        }
    }

    pub fn line(&mut self, text: &str) {
        // Long sentences are folded, so that a difference shows.
        let mut rest = text;
        let mut indent = "        ";
        while rest.chars().count() > 100 {
            let cut = rest
                .char_indices()
                .take(100)
                .filter(|(_, letter)| *letter == ' ')
                .last()
                .map_or(rest.len(), |(at, _)| at);
            if cut == 0 || cut == rest.len() {
                break;
            }
            let _ = writeln!(self.log, "{indent}{}", &rest[..cut]);
            rest = rest[cut..].trim_start();
            indent = "          ";
        }
        let _ = writeln!(self.log, "{indent}{rest}");
    }

    pub fn effect(&self, effect: &Effect) -> String {
        let name = effect.name();
        match effect {
            Effect::Split { services, to } => {
                let to = match to {
                    SplitTo::Stable { hash } => format!("stable {hash}"),
                    SplitTo::Both => "both".to_owned(),
                    SplitTo::Candidate { hash } => format!("candidate {hash}"),
                    SplitTo::Released => "as written by its user".to_owned(),
                };
                let names: Vec<&str> = services
                    .iter()
                    .map(|write| write.service.name.as_str())
                    .collect();
                format!("{name} {} to {to}", names.join(" "))
            }
            Effect::GiveBack { services } => {
                let names: Vec<&str> = services
                    .iter()
                    .map(|write| write.service.name.as_str())
                    .collect();
                format!("{name} {}", names.join(" "))
            }
            Effect::RestoreManagedFields { service, .. } => format!("{name} {}", service.name),
            Effect::KeepTemplate {
                name: kept,
                template,
                ..
            } => format!("{name} {kept} ({})", image(template)),
            Effect::Disown { target, .. } => format!("{name} {}", target.name),
            Effect::WriteTemplate { to, .. } => format!("{name} ({})", image(to)),
            Effect::CreateReplicaSet(new) => format!(
                "{name} {} x{} ({})",
                new.name,
                new.replicas,
                image(&new.template)
            ),
            Effect::CreateParallel(new) => format!(
                "{name} {} x{} ({})",
                new.name,
                new.replicas,
                image(&new.template)
            ),
            Effect::ScaleParallel { target, from, to }
            | Effect::ScaleReplicaSet { target, from, to } => {
                format!("{name} {} {from} to {to}", target.name)
            }
            Effect::Transfer {
                target,
                replicas,
                maximum,
                revision,
                ..
            } => format!(
                "{name} {} x{replicas} max {maximum} revision {revision}",
                target.name
            ),
            Effect::Unpause { template, .. } => format!("{name} ({})", image(template)),
            Effect::DropKeptTemplate { target }
            | Effect::PauseParallel { target }
            | Effect::DeleteParallel { target }
            | Effect::OrphanParallel { target }
            | Effect::DeleteReplicaSet { target }
            | Effect::Park { target, .. }
            | Effect::Return { target, .. } => format!("{name} {}", target.name),
        }
    }

    /// How it ended, without times and names that a detour changes.
    pub fn end(&self) -> String {
        let world = &self.world;
        let mut text = format!("phase {}", self.memory.phase.as_str());
        if let Some(web) = &world.workload {
            let _ = write!(
                text,
                "\nweb {} x{} revision {}{}",
                image(&web.template),
                web.replicas,
                web.revision,
                if web.paused { ", paused" } else { "" }
            );
            let own = Own::Deployment(web.uid.clone());
            for set in &world.sets {
                let whose = if set.own == own { "" } else { " not web's" };
                let serving = world
                    .pods
                    .iter()
                    .filter(|pod| pod.set == set.uid && pod.serving())
                    .count();
                let _ = write!(
                    text,
                    "\nset {} revision {} size {} ready {serving}{whose}",
                    image(&set.template),
                    set.revision,
                    set.replicas
                );
            }
        }
        for service in &world.services {
            let served: BTreeSet<&str> = world
                .pods
                .iter()
                .filter(|pod| service.endpoints.contains(&pod.uid))
                .map(|pod| pod.image.as_str())
                .collect();
            let _ = write!(
                text,
                "\nservice {} pinned {} held {} touched {} serves {}",
                service.name,
                service.hash.is_some(),
                service.held.is_some(),
                service.fields.to_string().contains("crossfade"),
                served.into_iter().collect::<Vec<_>>().join(" ")
            );
        }
        if !world.parallels.is_empty() || !world.kept.is_empty() {
            let _ = write!(
                text,
                "\nleft over: {} parallel Deployments, {} kept templates",
                world.parallels.len(),
                world.kept.len()
            );
        }
        for entry in &self.memory.history {
            let _ = write!(
                text,
                "\nrelease {} {}",
                entry.images.join(" "),
                entry.outcome
            );
        }
        if let Some(refused) = &self.memory.refused {
            let _ = write!(text, "\nrefused: {refused}");
        }
        text
    }
}

pub fn clock(at: Millis) -> String {
    let seconds = at / 1000;
    let rest = at % 1000;
    let fraction = if rest == 0 {
        String::new()
    } else {
        format!(".{rest:03}")
    };
    if seconds < 3600 {
        format!("{}:{:02}{fraction}", seconds / 60, seconds % 60)
    } else {
        format!(
            "{}:{:02}:{:02}{fraction}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }
}
