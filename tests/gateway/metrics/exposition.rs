//! A strict reader of OpenMetrics text, as far as a gateway may use it: whatever is odd is a failure.

use std::collections::{BTreeMap, BTreeSet};

/// One text, whole.
#[derive(Debug)]
pub(crate) struct Exposition {
    pub(crate) families: BTreeMap<String, Family>,
    pub(crate) samples: Vec<Sample>,
}

/// The description above the samples of one metric.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) unit: String,
    help: String,
}

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Sample {
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Exposition {
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("the end is not marked");
        let mut read = Exposition { families: BTreeMap::new(), samples: Vec::new() };
        // The metric whose samples may follow.
        let mut name = String::new();
        for line in body.strip_suffix('\n').unwrap().split('\n') {
            if let Some(about) = line.strip_prefix("# ") {
                let (what, rest) = about.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
                let (of, said) = rest.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
                assert!(is_name(of) && !said.is_empty(), "{line:?}");
                if what == "HELP" {
                    of.clone_into(&mut name);
                    let family = Family { help: said.to_owned(), ..Family::default() };
                    let before = read.families.insert(name.clone(), family);
                    assert!(before.is_none(), "{name} is there twice");
                }
                assert_eq!(of, name, "{line:?} stands elsewhere than the metric");
                let family = read.families.get_mut(of).unwrap();
                match what {
                    "HELP" => {}
                    "TYPE" if family.kind.is_empty() => said.clone_into(&mut family.kind),
                    "UNIT" if family.unit.is_empty() => said.clone_into(&mut family.unit),
                    _ => panic!("{line:?}"),
                }
            } else {
                let sample = sample(line).unwrap_or_else(|| panic!("{line:?} is no sample"));
                let suffix = sample.name.strip_prefix(&name).unwrap_or_else(|| panic!("{line:?} in {name}"));
                let suffixes: &[&str] = match &*read.families[&name].kind {
                    "counter" => &["_total"],
                    "gauge" => &[""],
                    "info" => &["_info"],
                    "histogram" => &["_sum", "_count", "_bucket"],
                    kind => panic!("{name} is a {kind:?}"),
                };
                assert!(suffixes.contains(&suffix), "{line:?}");
                assert!(sample.value >= 0.0 && sample.value.is_finite(), "{line:?}");
                read.samples.push(sample);
            }
        }
        read.judge();
        read
    }

    #[track_caller]
    fn judge(&self) {
        for (name, family) in &self.families {
            assert!(family.help.ends_with('.'), "{name}: {}", family.help);
            assert!(family.unit.is_empty() || name.ends_with(&format!("_{}", family.unit)), "{name}");
            assert!(!name.ends_with("_total") && !name.ends_with("_info"), "{name} is no name of a metric");
        }
        let mut seen = BTreeSet::new();
        for sample in &self.samples {
            assert!(seen.insert((&sample.name, &sample.labels)), "{sample:?} is there twice");
        }
        for (name, _) in self.families.iter().filter(|(_, family)| family.kind == "histogram") {
            self.judge_histogram(name);
        }
    }

    fn judge_histogram(&self, name: &str) {
        let mut buckets: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
        for sample in self.of(&format!("{name}_bucket"), &[]) {
            let mut labels = sample.labels.clone();
            let bound = labels.remove("le").unwrap();
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            buckets.entry(labels).or_default().push((bound, sample.value));
        }
        let counts: Vec<&Sample> = self.of(&format!("{name}_count"), &[]).collect();
        assert_eq!(counts.len(), buckets.len(), "{name}");
        for count in counts {
            let buckets = &buckets[&count.labels];
            let rises = |pair: &[(f64, f64)]| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1;
            assert!(buckets.windows(2).all(rises), "{name}: {buckets:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, count.value)), "{name}");
            let sums: Vec<&Sample> =
                self.of(&format!("{name}_sum"), &[]).filter(|sum| sum.labels == count.labels).collect();
            assert_eq!(sums.len(), 1, "{name}");
            assert_eq!(sums[0].value == 0.0, count.value == 0.0, "{name}: time was spent, or none");
        }
    }

    /// The samples of this name that have these labels, whatever others they have.
    pub(crate) fn of<'a>(
        &'a self,
        name: &str,
        labels: &[(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> + use<'a> {
        let name = name.to_owned();
        let labels: Vec<(String, String)> =
            labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.samples.iter().filter(move |sample| {
            sample.name == name && labels.iter().all(|(name, value)| sample.label(name) == value)
        })
    }

    /// Their sum.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|sample| sample.value).sum()
    }

    /// Every series: its name and labels.
    pub(crate) fn series(&self) -> BTreeSet<(String, BTreeMap<String, String>)> {
        self.samples.iter().map(|sample| (sample.name.clone(), sample.labels.clone())).collect()
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// `name{label="value",…} 1.5`
fn sample(line: &str) -> Option<Sample> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let mut labels = BTreeMap::new();
    let value = match rest.strip_prefix('{') {
        None => rest.strip_prefix(' ')?,
        Some(mut rest) => loop {
            let (label, behind) = rest.split_once("=\"")?;
            // Nothing that needs to be escaped may be in a label here.
            let (value, behind) = behind.split_once('"')?;
            let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || "._-/{}+".contains(c));
            if !is_name(label) || !plain || value.is_empty() {
                return None;
            }
            if labels.insert(label.to_owned(), value.to_owned()).is_some() {
                return None;
            }
            match behind.strip_prefix(',') {
                Some(more) => rest = more,
                None => break behind.strip_prefix("} ")?,
            }
        },
    };
    let value = value.parse().ok()?;
    is_name(name).then(|| Sample { name: name.to_owned(), labels, value })
}
