//! Dots with whiskers, as SVG: one a peer, from quartile to quartile, in panels below each other.

use std::fmt::Write as _;

use crate::spread::Spread;

pub(crate) struct Plot {
    pub(crate) title: String,
    /// What the horizontal axis says.
    pub(crate) axis: String,
    pub(crate) scale: Scale,
    /// A value that is marked in each panel.
    pub(crate) mark: Option<f64>,
    pub(crate) panels: Vec<Panel>,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    Linear,
    Logarithmic,
}

pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) dots: Vec<Dot>,
}

pub(crate) struct Dot {
    pub(crate) name: String,
    pub(crate) spread: Spread,
    pub(crate) ours: bool,
}

const WIDTH: f64 = 780.0;
const LEFT: f64 = 240.0;
const RIGHT: f64 = 90.0;
const LINE: f64 = 18.0;
const GAP: f64 = 34.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;

impl Plot {
    pub(crate) fn to_svg(&self) -> String {
        let height = self.panels.iter().map(Panel::height).sum::<f64>() + TOP + BOTTOM;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        text(&mut svg, LEFT, 20.0, "start", "#111", &self.title, true);
        let axis = self.axis();
        let mut top = TOP;
        for panel in &self.panels {
            self.draw(&mut svg, panel, &axis, top);
            top += panel.height();
        }
        for tick in axis.ticks() {
            text(&mut svg, axis.x(tick), top + 14.0, "middle", "#555", &round_number(tick), false);
        }
        text(&mut svg, (LEFT + WIDTH - RIGHT) / 2.0, top + 32.0, "middle", "#555", &self.axis, false);
        svg + "</svg>\n"
    }

    fn axis(&self) -> Axis {
        let spreads = || self.panels.iter().flat_map(|panel| panel.dots.iter().map(|dot| dot.spread));
        let most = spreads().map(|spread| spread.high).chain(self.mark).fold(f64::MIN_POSITIVE, f64::max);
        let least = spreads().map(|spread| spread.low).chain(self.mark).fold(most, f64::min);
        match self.scale {
            Scale::Linear => Axis { scale: self.scale, from: 0.0, to: most * 1.05 },
            Scale::Logarithmic => {
                Axis { scale: self.scale, from: least.max(most / 1e5) / 1.2, to: most * 1.2 }
            }
        }
    }

    fn draw(&self, svg: &mut String, panel: &Panel, axis: &Axis, top: f64) {
        let (begin, end) = (top + GAP - 8.0, top + panel.height());
        for tick in axis.ticks() {
            line(svg, (axis.x(tick), begin), (axis.x(tick), end), "#e5e5e5", 1.0);
        }
        if let Some(mark) = self.mark {
            line(svg, (axis.x(mark), begin), (axis.x(mark), end), "#888", 1.5);
        }
        text(svg, LEFT, top + GAP - 14.0, "start", "#111", &panel.title, false);
        for (number_of, dot) in panel.dots.iter().enumerate() {
            let y = top + GAP + LINE * (number_of as f64 + 0.5);
            dot.draw(svg, axis, y);
        }
    }
}

impl Panel {
    fn height(&self) -> f64 {
        GAP + LINE * self.dots.len() as f64
    }
}

impl Dot {
    fn draw(&self, svg: &mut String, axis: &Axis, y: f64) {
        let colour = if self.ours { "#c2410c" } else { "#475569" };
        let Spread { low, median, high } = self.spread;
        text(svg, LEFT - 10.0, y + 4.0, "end", colour, &self.name, self.ours);
        line(svg, (axis.x(low), y), (axis.x(high), y), colour, 2.0);
        let x = axis.x(median);
        // Writing to a string does not fail.
        writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>").unwrap_or_default();
        text(svg, axis.x(high).max(x) + 9.0, y + 4.0, "start", colour, &number(median), false);
    }
}

struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
}

impl Axis {
    fn x(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Logarithmic => (value.max(self.from) / self.from).ln() / (self.to / self.from).ln(),
        };
        LEFT + (WIDTH - LEFT - RIGHT) * part
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let rough = (self.to - self.from) / 5.0;
                let power = 10_f64.powf(rough.log10().floor());
                let step =
                    [1.0, 2.0, 5.0, 10.0].map(|part| part * power).into_iter().find(|step| *step >= rough);
                let step = step.unwrap_or(rough);
                (0..).map(|number| number as f64 * step).take_while(|tick| *tick <= self.to).collect()
            }
            Scale::Logarithmic => {
                let powers = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
                let ticks = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|part| part * 10_f64.powi(power)));
                ticks.filter(|tick| (self.from..=self.to).contains(tick)).collect()
            }
        }
    }
}

/// With as many digits as there is to read.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if size >= 1_000.0 => thousands(value),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// One that has few digits by itself.
fn round_number(value: f64) -> String {
    if value >= 1_000.0 { thousands(value) } else { ((value * 1e4).round() / 1e4).to_string() }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let parts: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    parts.join(",")
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
    let ((x1, y1), (x2, y2)) = (from, to);
    writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" \
         stroke-width=\"{width}\"/>"
    )
    .unwrap_or_default();
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, colour: &str, words: &str, bold: bool) {
    let weight = if bold { " font-weight=\"bold\"" } else { "" };
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\"{weight}>{words}</text>"
    )
    .unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0, 1.234, 12.34, 123.4, 1_234_567.8].map(number),
            ["0", "1.23", "12.3", "123", "1,234,568"]
        );
    }
}
