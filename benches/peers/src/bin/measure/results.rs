//! What was measured, one line a sample, so that the document can be written again without measuring.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::spread::Spread;
use crate::workshop::Workshop;

pub(crate) type Values = BTreeMap<String, f64>;

#[derive(Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) scale: f64,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) descriptors: u64,
}

#[derive(Serialize, Deserialize, PartialEq)]
pub(crate) struct LeftOut {
    pub(crate) peer: String,
    pub(crate) measure: String,
    pub(crate) reason: String,
}

/// Of one peer in one round.
#[derive(Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) measure: String,
    pub(crate) row: String,
    pub(crate) peer: String,
    pub(crate) round: u32,
    pub(crate) values: Values,
}

impl Results {
    pub(crate) fn new(workshop: &Workshop, scale: f64) -> Self {
        let machine = Machine {
            cores: workshop.cores,
            memory_gib: memory_gib().unwrap_or_default(),
            kernel: kernel().unwrap_or_default(),
            descriptors: workshop.descriptors,
        };
        Self { machine, versions: workshop.versions(), scale, left_out: vec![], samples: vec![] }
    }

    pub(crate) fn add(
        &mut self,
        measure: &str,
        row: &str,
        peer: &str,
        round: u32,
        values: impl IntoIterator<Item = (impl Into<String>, f64)>,
    ) {
        // So that the file can be read.
        let rounded = |value: f64| (value * 1e4).round() / 1e4;
        let values = values.into_iter().map(|(name, value)| (name.into(), rounded(value))).collect();
        let (measure, row, peer) = (measure.to_owned(), row.to_owned(), peer.to_owned());
        self.samples.push(Sample { measure, row, peer, round, values });
    }

    /// By name, once.
    pub(crate) fn leave_out(&mut self, peer: &str, measure: &str, reason: &str) {
        let left_out = LeftOut { peer: peer.into(), measure: measure.into(), reason: reason.into() };
        if !self.left_out.contains(&left_out) {
            eprintln!("left out: {peer}, {measure}: {reason}");
            self.left_out.push(left_out);
        }
    }

    /// By round.
    pub(crate) fn of(&self, measure: &str, row: &str, peer: &str, value: &str) -> BTreeMap<u32, f64> {
        let samples = self
            .samples
            .iter()
            .filter(|sample| sample.measure == measure && sample.row == row && sample.peer == peer);
        samples.filter_map(|sample| Some((sample.round, *sample.values.get(value)?))).collect()
    }

    pub(crate) fn spread(&self, measure: &str, row: &str, peer: &str, value: &str) -> Option<Spread> {
        Spread::of(self.of(measure, row, peer, value).into_values())
    }

    pub(crate) fn read(file: &Path) -> Outcome<Self> {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    pub(crate) fn write(&self, file: &Path) -> Outcome<()> {
        let samples: Vec<_> = self.samples.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        let left_out: Vec<_> = self.left_out.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        let text = format!(
            "{{\n\"machine\": {},\n\"versions\": {},\n\"scale\": {},\n\
             \"left_out\": [\n{}\n],\n\"samples\": [\n{}\n]\n}}\n",
            serde_json::to_string(&self.machine)?,
            serde_json::to_string(&self.versions)?,
            self.scale,
            left_out.join(",\n"),
            samples.join(",\n"),
        );
        Ok(fs::write(file, text)?)
    }
}

/// Of the machine, as far as the kernel gives it out.
fn memory_gib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some((kibibytes + (1 << 19)) >> 20)
}

/// Its first two numbers: the rest names a build.
fn kernel() -> Option<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(release.split('.').take(2).collect::<Vec<_>>().join("."))
}
