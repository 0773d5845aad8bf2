//! A bar chart as SVG, readable on light and on dark ground.

use std::fmt::Write as _;

/// Bars in groups, on a logarithmic scale.
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) groups: Vec<Group>,
}

/// Bars that belong together.
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) bars: Vec<Bar>,
}

/// One number.
pub(crate) struct Bar {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    /// Whether it is the one that the others are compared with.
    pub(crate) is_ours: bool,
}

const WIDTH: f64 = 760.0;
/// Where the bars begin.
const LEFT: f64 = 250.0;
/// What the longest bar has.
const BAR_MAX: f64 = WIDTH - LEFT - 70.0;
const LINE: f64 = 22.0;
const TOP: f64 = 48.0;

/// Who draws it in a page that is dark asks for the same colours as the page.
const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#1f2328}\
.title,.group{font-weight:600}\
.name{text-anchor:end}\
rect{fill:#8c959f}\
.ours{fill:#1a7f37}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}rect{fill:#6e7681}.ours{fill:#2ea043}}";

impl Chart {
    /// The whole file.
    pub(crate) fn svg(&self) -> String {
        let lines: f64 = self.groups.iter().map(Group::lines).sum();
        let height = TOP + lines * LINE;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n\
             <text class=\"title\" x=\"8\" y=\"24\">{title}</text>\n",
            title = self.title
        );
        let scale = Scale::of(self.groups.iter().flat_map(|group| &group.bars));
        let mut y = TOP;
        for group in &self.groups {
            group.draw(&mut svg, y, &scale);
            y += group.lines() * LINE;
        }
        svg + "</svg>\n"
    }
}

impl Group {
    /// Its heading, its bars, and the space below.
    fn lines(&self) -> f64 {
        self.bars.iter().map(|_| 1.0).sum::<f64>() + 1.5
    }

    fn draw(&self, svg: &mut String, top: f64, scale: &Scale) {
        let name = &self.name;
        // Writing into a String cannot fail.
        let _ = writeln!(
            svg,
            "<text class=\"group\" x=\"8\" y=\"{:.0}\">{name}</text>",
            top + 12.0
        );
        let mut y = top + LINE;
        for bar in &self.bars {
            bar.draw(svg, y, scale.length(bar.value));
            y += LINE;
        }
    }
}

impl Bar {
    fn draw(&self, svg: &mut String, y: f64, length: f64) {
        let class = if self.is_ours { " class=\"ours\"" } else { "" };
        let digits = match self.value {
            value if value < 1.0 => 2,
            value if value < 10.0 => 1,
            _ => 0,
        };
        let _ = writeln!(
            svg,
            "<text class=\"name\" x=\"{:.0}\" y=\"{base:.0}\">{}</text>\
             <rect{class} x=\"{LEFT}\" y=\"{y:.0}\" width=\"{length:.0}\" height=\"16\" rx=\"2\"/>\
             <text x=\"{:.0}\" y=\"{base:.0}\">{:.digits$}</text>",
            LEFT - 8.0,
            self.name,
            LEFT + length + 6.0,
            self.value,
            base = y + 12.5
        );
    }
}

/// From a power of ten below the least to the greatest.
struct Scale {
    least: f64,
    greatest: f64,
}

impl Scale {
    fn of<'a>(bars: impl Iterator<Item = &'a Bar> + Clone) -> Self {
        let values = bars.map(|bar| bar.value);
        Self {
            least: values.clone().fold(f64::INFINITY, f64::min).log10().floor(),
            greatest: values.fold(0.0, f64::max).log10(),
        }
    }

    fn length(&self, value: f64) -> f64 {
        let span = (self.greatest - self.least).max(f64::MIN_POSITIVE);
        BAR_MAX * ((value.log10() - self.least) / span).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_power_of_ten() {
        let bar = |value| Bar {
            name: "bar",
            value,
            is_ours: value > 1.0,
        };
        let bars = vec![bar(0.1), bar(1.0), bar(1000.0)];
        let scale = Scale::of(bars.iter());
        let lengths = [0.1, 10.0, 1000.0].map(|value| scale.length(value).round());
        assert_eq!(lengths, [0.0, BAR_MAX / 2.0, BAR_MAX]);
        let name = "HAProxy".to_owned();
        let svg = Chart {
            title: "Title".to_owned(),
            groups: vec![Group { name, bars }],
        }
        .svg();
        assert_eq!(svg.matches("<rect ").count(), 3);
        assert_eq!(svg.matches("<rect class=\"ours\"").count(), 1);
    }
}
