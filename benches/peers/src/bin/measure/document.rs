//! The document and its plots, from nothing but the results.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::catalogue::{AXUM_SERVE, BARE_HYPER, PEERS, is_ours};
use crate::plot::{Dot, Panel, Plot, Scale, number};
use crate::rates::{OVER_TLS, WORKLOADS};
use crate::restarts::SITUATIONS;
use crate::results::Results;
use crate::spread::Spread;
use crate::{Outcome, allocations};

pub(crate) fn write(results: &Results, directory: &Path) -> Outcome<()> {
    let document = Document { results };
    fs::write(directory.join("benchmarks.md"), document.text())?;
    for (name, plot) in document.plots() {
        fs::write(directory.join("benchmarks").join(name), plot.to_svg())?;
    }
    Ok(())
}

struct Document<'results> {
    results: &'results Results,
}

/// What a figure of endless should be: what falls short of it is set in bold.
#[derive(Clone, Copy)]
enum Aim {
    /// The interval reaches this or more.
    AtLeast(f64),
    /// The interval reaches this or less.
    AtMost(f64),
}

impl Aim {
    fn is_met(self, spread: Spread) -> bool {
        // As it is printed: nobody can see a shortfall of less.
        let printed = |value: f64| (value * 100.0).round() / 100.0;
        match self {
            Self::AtLeast(aim) => printed(spread.high) >= aim,
            Self::AtMost(aim) => printed(spread.low) <= aim,
        }
    }
}

impl Document<'_> {
    fn text(&self) -> String {
        let parts = [
            self.opening(),
            self.rates(),
            self.allocations(),
            self.memory(),
            self.starts(),
            self.restarts(),
            self.flatness(),
            self.left_out(),
            self.method(),
        ];
        parts.join("\n")
    }

    fn opening(&self) -> String {
        let machine = &self.results.machine;
        let versions: Vec<_> =
            self.results.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        format!(
            "# Benchmarks\n\n\
             Written by `just bench`, from [results.json](benchmarks/results.json): endless beside its \
             peers, in one run on one machine with {} cores and {} GiB of memory, Linux {}, server and \
             client side by side. Ratios first: they travel better than figures. **In bold: what falls short \
             of its aim.**\n\n\
             {}.\n",
            machine.cores,
            machine.memory_gib,
            machine.kernel,
            versions.join(", "),
        )
    }

    fn rates(&self) -> String {
        let mut text = "## Requests a second, and what a request costs\n\n\
             Aim: what endless adds to hyper, and to axum, cannot be measured: the interval of each ratio \
             reaches 1.00.\n\n\
             ![Requests a second](benchmarks/rates.svg)\n\n![Processor time](benchmarks/processor.svg)\n"
            .to_owned();
        for (row, _) in WORKLOADS.into_iter().chain(OVER_TLS) {
            let table = Table::new("rates", row)
                .ratio("requests a second, ratio", "rate", Aim::AtLeast(1.0))
                .figure("requests a second", "rate")
                .ratio("processor time, ratio", "processor_us", Aim::AtMost(1.0))
                .figure("µs a request", "processor_us");
            self.section(&mut text, row, &table);
        }
        text
    }

    fn allocations(&self) -> String {
        let mut text = "## Allocations\n\nIn all of a peer's threads, with the answer that its handler \
             makes. Only programs in Rust count them. Aim: no more than the peer beside which it stands.\n"
            .to_owned();
        for row in [allocations::REQUEST, allocations::CONNECTION, allocations::STREAM] {
            let table = Table::new("allocations", row)
                .ratio("ratio", "count", Aim::AtMost(1.0))
                .figure("allocations", "count");
            self.section(&mut text, row, &table);
        }
        text
    }

    fn memory(&self) -> String {
        let count =
            self.results.spread("memory", "idle", BARE_HYPER, "connections").map_or(0.0, |it| it.median);
        let mut text = format!(
            "## Memory of an idle connection\n\nWhat {} connections add to the processes' private memory a \
             second after their only answer. What a server sets aside for all of them at its start, as nginx \
             does, is in the last column. Aim: a quarter of bare hyper's.\n\n![Memory of an idle \
             connection](benchmarks/memory.svg)\n",
            number(count)
        );
        let table = Table::new("memory", "idle")
            .ratio_to(BARE_HYPER, "ratio", "bytes", Aim::AtMost(0.25))
            .figure("bytes a connection", "bytes")
            .figure("KiB of the processes before", "process_kib");
        self.section(&mut text, "", &table);
        text
    }

    fn starts(&self) -> String {
        let mut text =
            "## From exec to the first answer\n\nSupervised, that is two processes, one after the other.\n\n\
             ![Start](benchmarks/starts.svg)\n"
                .to_owned();
        let table =
            Table::new("starts", "start").ratio("ratio", "ms", Aim::AtMost(f64::MAX)).figure("ms", "ms");
        self.section(&mut text, "", &table);
        text
    }

    fn restarts(&self) -> String {
        let mut text = "## A restart\n\n\
             28 clients with connections that they keep and 4 that open a new one for each request, some \
             8,000 requests a second in all, half a second before the signal and at least half a second \
             after it. Aims: no request fails; the successor's first answer comes within 1.5 times what the \
             program needs from exec to its first answer; p99 in the half second after the signal is better \
             than every peer's. *Failed* is the sum of all rounds: requests that were sent and not answered. \
             *Closed* is the median of a restart: connections that the clients would have kept.\n\n\
             ![The successor's first answer](benchmarks/first-answer.svg)\n\n\
             ![Latency after the signal](benchmarks/latency.svg)\n"
            .to_owned();
        for situation in &SITUATIONS {
            let heading = heading(situation.name);
            writeln!(text, "\n### {heading}\n").unwrap_or_default();
            text += &self.restart_table(situation.name);
        }
        text
    }

    fn restart_table(&self, row: &str) -> String {
        let head = [
            "",
            "first answer ÷ own start",
            "ms to first answer",
            "ms to predecessor's exit",
            "failed",
            "closed",
            "p50, ms",
            "p99",
            "p99.9",
            "max",
        ];
        let mut lines = vec![];
        let rivals = PEERS.iter().filter(|peer| !peer.is_ours());
        let best = rivals.filter_map(|peer| self.results.spread("restarts", row, peer.name, "after_p99"));
        let best = best.map(|spread| spread.median).fold(f64::MAX, f64::min);
        for name in self.names("restarts", row) {
            let spread = |value: &str| self.results.spread("restarts", row, name, value);
            let ratio = self.quotient(row, name, "first_answer_ms", "start_ms");
            let failed: f64 = self.results.of("restarts", row, name, "failed").values().sum();
            let closed = self.closed(row, name);
            let latency = |which: &str| {
                let (before, after) = (spread(&format!("before_{which}")), spread(&format!("after_{which}")));
                let median =
                    |spread: Option<Spread>| spread.map_or("–".into(), |spread| number(spread.median));
                format!("{} → {}", median(before), median(after))
            };
            let p99_is_best = spread("after_p99").is_none_or(|spread| spread.median < best);
            lines.push(vec![
                name.to_owned(),
                ratio
                    .map_or("–".into(), |it| aimed(name, &with_quartiles(it), Aim::AtMost(1.5).is_met(it))),
                spread("first_answer_ms").map_or("–".into(), with_quartiles),
                spread("exit_ms").map_or("–".into(), with_quartiles),
                aimed(name, &number_of(failed), failed == 0.0),
                number_of(closed),
                latency("p50"),
                aimed(name, &latency("p99"), p99_is_best),
                latency("p99.9"),
                latency("max"),
            ]);
        }
        markdown(&head.map(str::to_owned), &lines)
    }

    fn closed(&self, row: &str, name: &str) -> f64 {
        let value =
            |value| self.results.spread("restarts", row, name, value).map_or(0.0, |spread| spread.median);
        value("closed") + value("idle_closed")
    }

    /// Of two values of the same restart.
    fn quotient(&self, row: &str, name: &str, value: &str, by: &str) -> Option<Spread> {
        ratios(self.results.of("restarts", row, name, value), &self.results.of("restarts", row, name, by))
    }

    fn flatness(&self) -> String {
        let base = SITUATIONS[0].name;
        let mut text = "## Does a restart depend on memory and connections?\n\n\
             The successor's first answer, against that of the same program in the same round with nothing \
             but the load. Aim: with up to 4 GiB touched, no more than 1.10.\n\n"
            .to_owned();
        let mut head = vec![String::new()];
        head.extend(SITUATIONS[1..].iter().map(|situation| situation.name.to_owned()));
        let mut lines = vec![];
        for name in self.names("restarts", base) {
            let mut line = vec![name.to_owned()];
            for situation in &SITUATIONS[1..] {
                let value = |row| self.results.of("restarts", row, name, "first_answer_ms");
                let spread = ratios(value(situation.name), &value(base));
                line.push(spread.map_or("–".into(), |spread| {
                    let met = situation.gibibytes == 0 || Aim::AtMost(1.1).is_met(spread);
                    aimed(name, &with_quartiles(spread), met)
                }));
            }
            lines.push(line);
        }
        text += &markdown(&head, &lines);
        text
    }

    fn left_out(&self) -> String {
        let lines = self.results.left_out.iter();
        let lines = lines.map(|it| vec![it.peer.clone(), it.measure.clone(), it.reason.clone()]);
        let lines: Vec<_> = lines.collect();
        if lines.is_empty() {
            return String::new();
        }
        format!("## Left out\n\n{}", markdown(&["who", "of what", "why"].map(str::to_owned), &lines))
    }

    fn method(&self) -> String {
        let limits = "1,024 keep-alive connections";
        let used: Vec<_> = PEERS
            .iter()
            .filter_map(|peer| self.results.spread("rates", limits, peer.name, "cores"))
            .map(|spread| spread.median)
            .collect();
        let least = used.iter().copied().fold(f64::MAX, f64::min);
        let most = used.iter().copied().fold(0.0, f64::max);
        let cores = self.results.machine.cores;
        let generator = if used.is_empty() {
            String::new()
        } else {
            format!(
                " With {limits} it is the generator that limits: the servers had {least:.1} to {most:.1} of \
                 the {cores} cores, so look at the processor time there."
            )
        };
        format!(
            "## How it is measured\n\n\
             Every server is a process of its own, a small program in `benches/peers` with the same answers \
             (`WORLD!`, 1 KiB, 1 MiB), built for release, with as many threads as there are cores. Each \
             round has every peer once and begins with another one; a ratio is taken within a round, against \
             bare hyper 1, or against `{AXUM_SERVE}` where endless serves a router of axum. Tables show the \
             median of the rounds and, in brackets, the quartiles. Each server has an address of its own and \
             idles while others are measured.\n\n\
             The client is one program for everybody, on the same cores: over HTTP/1 two threads that write \
             a request and read an answer, over HTTP/2 hyper's client.{generator} Processor time is that of \
             all of a server's processes, as the scheduler counts it, without the client's. Memory is \
             `Private_Dirty` of `/proc/PID/smaps_rollup`; what the kernel keeps for a connection is in \
             nobody's figure.\n\n\
             In a restart, a client that finds its kept connection closed opens a new one, and nothing is \
             lost; a request that was sent and is not answered is never sent again, and has failed. The idle \
             connections that are still open afterwards are asked once more, and count as failed if they do \
             not answer. Memory is touched in the process that is about to hand over; its successor begins \
             with none. What a process has from its start is measured without load, what it does in a \
             restart with the load.\n\n\
             Repeat it with `just bench`, or `just bench 3` for three times the rounds; nothing else should \
             run meanwhile. `just bench-render` writes this page again from the results. nginx, HAProxy and \
             Go are Debian's packages `nginx-light`, `haproxy`, `golang-go`, \
             `golang-github-cloudflare-tableflip-dev` and `golang-github-facebookgo-grace-dev`; whoever is \
             not installed is left out.\n\n\
             This run had {} times the usual rounds.\n",
            self.results.scale
        )
    }

    fn section(&self, text: &mut String, title: &str, table: &Table) {
        if !title.is_empty() {
            writeln!(text, "\n### {}\n", heading(title)).unwrap_or_default();
        } else {
            *text += "\n";
        }
        *text += &table.render(self);
    }

    /// In the order of the catalogue, who has been measured.
    fn names(&self, measure: &str, row: &str) -> Vec<&'static str> {
        let samples = || self.results.samples.iter().filter(|it| it.measure == measure && it.row == row);
        let names = PEERS.iter().map(|peer| peer.name);
        names.filter(|name| samples().any(|sample| sample.peer == *name)).collect()
    }

    fn ratio(&self, measure: &str, row: &str, name: &str, base: &str, value: &str) -> Option<Spread> {
        let of = |name| self.results.of(measure, row, name, value);
        ratios(of(name), &of(base))
    }

    fn plots(&self) -> Vec<(&'static str, Plot)> {
        let rows: Vec<_> = WORKLOADS.iter().map(|(row, _)| *row).collect();
        let situations: Vec<_> = SITUATIONS.iter().map(|situation| situation.name).collect();
        let to_hyper =
            |measure, value| move |row: &str, name: &str| self.ratio(measure, row, name, BARE_HYPER, value);
        let in_restart =
            |value| move |row: &str, name: &str| self.results.spread("restarts", row, name, value);
        let plot = |title: &str, axis: &str, scale, mark, panels| Plot {
            title: title.into(),
            axis: axis.into(),
            scale,
            mark,
            panels,
        };
        let ratio = "bare hyper 1 is 1.00";
        vec![
            (
                "rates.svg",
                plot(
                    "Requests a second",
                    &format!("{ratio}; more is better"),
                    Scale::Linear,
                    Some(1.0),
                    self.panels("rates", &rows, to_hyper("rates", "rate")),
                ),
            ),
            (
                "processor.svg",
                plot(
                    "Processor time of a request",
                    &format!("{ratio}; less is better"),
                    Scale::Linear,
                    Some(1.0),
                    self.panels("rates", &rows, to_hyper("rates", "processor_us")),
                ),
            ),
            (
                "memory.svg",
                plot(
                    "Memory of an idle connection",
                    "bytes; less is better",
                    Scale::Linear,
                    None,
                    self.panels("memory", &["idle"], |row, name| {
                        self.results.spread("memory", row, name, "bytes")
                    }),
                ),
            ),
            (
                "starts.svg",
                plot(
                    "From exec to the first answer",
                    "milliseconds; less is better",
                    Scale::Linear,
                    None,
                    self.panels("starts", &["start"], |row, name| {
                        self.results.spread("starts", row, name, "ms")
                    }),
                ),
            ),
            (
                "first-answer.svg",
                plot(
                    "From the signal to the successor's first answer",
                    "milliseconds; less is better",
                    Scale::Logarithmic,
                    None,
                    self.panels("restarts", &situations, in_restart("first_answer_ms")),
                ),
            ),
            (
                "latency.svg",
                plot(
                    "p99 of the half second after the signal",
                    "milliseconds; less is better",
                    Scale::Logarithmic,
                    None,
                    self.panels("restarts", &situations, in_restart("after_p99")),
                ),
            ),
        ]
    }

    fn panels(&self, measure: &str, rows: &[&str], of: impl Fn(&str, &str) -> Option<Spread>) -> Vec<Panel> {
        let panel = |row: &&str| {
            let names = self.names(measure, row).into_iter();
            let dots = names.filter_map(|name| {
                Some(Dot { name: name.to_owned(), spread: of(row, name)?, ours: is_ours(name) })
            });
            Panel { title: if rows.len() > 1 { heading(row) } else { String::new() }, dots: dots.collect() }
        };
        rows.iter().map(panel).collect()
    }
}

/// A line for each peer, a column for each question.
struct Table {
    measure: &'static str,
    row: &'static str,
    columns: Vec<Column>,
}

struct Column {
    title: &'static str,
    value: &'static str,
    kind: Kind,
}

enum Kind {
    /// Against whom the catalogue says, or against this one.
    Ratio(Option<&'static str>, Aim),
    Figure,
}

impl Table {
    fn new(measure: &'static str, row: &'static str) -> Self {
        Self { measure, row, columns: vec![] }
    }

    fn ratio(self, title: &'static str, value: &'static str, aim: Aim) -> Self {
        self.column(title, value, Kind::Ratio(None, aim))
    }

    fn ratio_to(self, base: &'static str, title: &'static str, value: &'static str, aim: Aim) -> Self {
        self.column(title, value, Kind::Ratio(Some(base), aim))
    }

    fn figure(self, title: &'static str, value: &'static str) -> Self {
        self.column(title, value, Kind::Figure)
    }

    fn column(mut self, title: &'static str, value: &'static str, kind: Kind) -> Self {
        self.columns.push(Column { title, value, kind });
        self
    }

    fn render(&self, document: &Document) -> String {
        let titles = self.columns.iter().map(|column| column.title.to_owned());
        let head: Vec<_> = ["".to_owned(), "against".to_owned()].into_iter().chain(titles).collect();
        let measured = document.names(self.measure, self.row);
        let lines = PEERS.iter().filter(|peer| measured.contains(&peer.name)).map(|peer| {
            let own_base = self.columns.iter().find_map(|column| match column.kind {
                Kind::Ratio(base, _) => base,
                Kind::Figure => None,
            });
            let base = own_base.unwrap_or(peer.against);
            let cells = self.columns.iter().map(|column| self.cell(document, column, peer.name, base));
            [peer.name.to_owned(), base.to_owned()].into_iter().chain(cells).collect()
        });
        markdown(&head, &lines.collect::<Vec<_>>())
    }

    fn cell(&self, document: &Document, column: &Column, name: &str, base: &str) -> String {
        match column.kind {
            Kind::Figure => {
                let spread = document.results.spread(self.measure, self.row, name, column.value);
                spread.map_or("–".into(), |spread| number(spread.median))
            }
            Kind::Ratio(..) if name == base => "1.00".into(),
            Kind::Ratio(_, aim) => {
                let spread = document.ratio(self.measure, self.row, name, base, column.value);
                spread.map_or("–".into(), |spread| aimed(name, &with_quartiles(spread), aim.is_met(spread)))
            }
        }
    }
}

/// Round by round.
fn ratios(values: BTreeMap<u32, f64>, base: &BTreeMap<u32, f64>) -> Option<Spread> {
    Spread::of(values.into_iter().filter_map(|(round, value)| Some(value / base.get(&round)?)))
}

fn aimed(name: &str, figure: &str, is_met: bool) -> String {
    if is_met || !is_ours(name) { figure.to_owned() } else { format!("**{figure}**") }
}

fn with_quartiles(spread: Spread) -> String {
    format!("{} ({} to {})", number(spread.median), number(spread.low), number(spread.high))
}

/// One that is counted.
fn number_of(value: f64) -> String {
    if value.fract() == 0.0 && value < 1_000.0 { format!("{value:.0}") } else { number(value) }
}

fn heading(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn markdown(head: &[String], lines: &[Vec<String>]) -> String {
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    row(head) + &rule + &lines.iter().map(|line| row(line)).collect::<String>()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Document;
    use crate::results::{LeftOut, Machine, Results};

    const SUPERVISED: &str = "endless, supervised";

    fn results() -> Results {
        let machine = Machine { cores: 2, memory_gib: 24, kernel: "6.18".into(), descriptors: 20_000 };
        Results { machine, versions: BTreeMap::new(), scale: 1.0, left_out: vec![], samples: vec![] }
    }

    /// Of the same row in three rounds, in which the machine itself gets slower.
    fn rates(ours: [f64; 3]) -> Results {
        let mut results = results();
        for (round, (hyper, ours)) in (1..).zip([100.0, 50.0, 25.0].into_iter().zip(ours)) {
            results.add("rates", "new connections", "bare hyper 1", round, [("rate", hyper)]);
            results.add("rates", "new connections", SUPERVISED, round, [("rate", ours)]);
        }
        results
    }

    fn line(results: &Results, peer: &str) -> String {
        let text = Document { results }.text();
        let line = text.lines().find(|line| line.starts_with(&format!("| {peer} |")));
        line.expect("a line").to_owned()
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let line = line(&rates([110.0, 55.0, 30.0]), SUPERVISED);
        assert!(line.contains("| bare hyper 1 | 1.10 (1.10 to 1.15) | 55.0 |"), "{line}");
    }

    #[test]
    fn what_falls_short_is_bold() {
        let line = line(&rates([90.0, 45.0, 24.0]), SUPERVISED);
        assert!(line.contains("**0.90 (0.90 to 0.93)**"), "{line}");
    }

    #[test]
    fn an_interval_that_reaches_its_aim_is_not_bold() {
        let line = line(&rates([90.0, 50.0, 25.0]), SUPERVISED);
        assert!(line.contains("| 1.00 (0.95 to 1.00) |"), "{line}");
    }

    #[test]
    fn a_peer_that_falls_short_of_our_aim_is_not_bold() {
        let mut results = rates([90.0, 45.0, 24.0]);
        results.samples.iter_mut().for_each(|sample| sample.peer = sample.peer.replace(SUPERVISED, "nginx"));
        let line = line(&results, "nginx");
        assert!(line.contains("| 0.90 (0.90 to 0.93) |"), "{line}");
    }

    #[test]
    fn failed_requests_are_added_up_over_all_rounds() {
        let mut results = results();
        for round in 1..=3 {
            let values = [("failed", f64::from(round == 2)), ("first_answer_ms", 30.0), ("start_ms", 10.0)];
            results.add("restarts", "nothing but the load", SUPERVISED, round, values);
        }
        let line = line(&results, SUPERVISED);
        assert!(line.contains("| **3.00 (3.00 to 3.00)** | 30.0 (30.0 to 30.0) | – | **1** |"), "{line}");
    }

    #[test]
    fn who_is_left_out_is_named_with_the_reason() {
        let mut results = results();
        let (peer, measure) = ("nginx".to_owned(), "all".to_owned());
        results.left_out.push(LeftOut { peer, measure, reason: "nginx is not installed".into() });
        assert_eq!(line(&results, "nginx"), "| nginx | all | nginx is not installed |");
    }

    #[test]
    fn results_are_read_as_they_were_written() {
        let file = std::env::temp_dir().join(format!("results-{}.json", std::process::id()));
        let results = rates([110.0, 55.0, 30.0]);
        results.write(&file).expect("written");
        let read = Results::read(&file).expect("read");
        std::fs::remove_file(file).expect("removed");
        assert_eq!(Document { results: &read }.text(), Document { results: &results }.text());
    }

    #[test]
    fn plots_have_a_dot_for_each_peer() {
        let results = rates([110.0, 55.0, 30.0]);
        let plots = Document { results: &results }.plots();
        let (_, plot) = plots.into_iter().find(|(name, _)| *name == "rates.svg").expect("a plot");
        assert_eq!(plot.to_svg().matches("<circle").count(), 2);
    }
}
