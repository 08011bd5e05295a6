//! Limits that an image must keep, for CI: flags, and dive's rules file.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Args;
use headstart_fs::AtPath as _;
use headstart_image::metrics::ImageMetrics;
use serde::Deserialize;

use super::analyze::Analysis;
use crate::{config::ByteSize, error::CommandError, ui::bytes};

/// dive's rules file, where it looks for it itself.
const DIVE_CI: &str = ".dive-ci";
/// More than any such file has.
const MAX_FILE_BYTES: u64 = 1 << 16;

/// What CI may ask for.
#[derive(Debug, Args)]
pub(super) struct LimitArgs {
    /// Fail when an image wastes more: 20MB, or 5% of its file bytes
    #[arg(long, value_name = "SIZE|PERCENT")]
    max_wasted: Option<Share>,
    /// Fail when less than this part of an image's file bytes is visible: 0.95 or 95%
    #[arg(long, value_name = "RATIO", value_parser = parse_ratio)]
    min_efficiency: Option<f64>,
    /// Fail when an image pulls more, to a node that has the images of --have, else nothing: 50MB
    #[arg(long, value_name = "SIZE")]
    max_pull: Option<ByteSize>,
    /// dive's rules file, compared with dive's numbers [default: .dive-ci, if the working folder has one]
    #[arg(long, value_name = "FILE")]
    dive_ci: Option<PathBuf>,
}

/// Bytes, or a part of the whole.
#[derive(Debug, Clone, Copy)]
enum Share {
    Bytes(u64),
    Ratio(f64),
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix('%') {
            None => {
                let size: ByteSize = text.parse()?;
                Ok(Share::Bytes(size.bytes()))
            }
            Some(_) => parse_ratio(text).map(Share::Ratio),
        }
    }
}

/// A number between 0 and 1, or a percentage.
fn parse_ratio(text: &str) -> Result<f64, String> {
    let (number, whole) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim(), 100.0),
        None => (text, 1.0),
    };
    let ratio = number.parse::<f64>().map_err(|_| "not a number".to_owned())? / whole;
    match (0.0..=1.0).contains(&ratio) {
        true => Ok(ratio),
        false => Err("not between 0 and 1".to_owned()),
    }
}

/// What every image is held to.
#[derive(Debug, Default)]
pub(super) struct Limits {
    max_wasted: Option<Share>,
    min_efficiency: Option<f64>,
    max_pull_bytes: Option<u64>,
    dive: DiveRules,
}

/// dive's rules.
#[derive(Debug, Default, PartialEq)]
struct DiveRules {
    lowest_efficiency: Option<f64>,
    highest_wasted_bytes: Option<u64>,
    highest_user_wasted_ratio: Option<f64>,
}

impl LimitArgs {
    pub(super) fn load(&self) -> Result<Limits, CommandError> {
        let dive = match &self.dive_ci {
            Some(path) => DiveRules::load(path)?,
            None if Path::new(DIVE_CI).is_file() => DiveRules::load(Path::new(DIVE_CI))?,
            None => DiveRules::default(),
        };
        Ok(Limits {
            max_wasted: self.max_wasted,
            min_efficiency: self.min_efficiency,
            max_pull_bytes: self.max_pull.map(ByteSize::bytes),
            dive,
        })
    }
}

impl DiveRules {
    fn load(path: &Path) -> Result<Self, CommandError> {
        let length = fs::metadata(path).at("look at", path)?.len();
        if length > MAX_FILE_BYTES {
            return Err(CommandError::usage(format!(
                "{} is too long for rules",
                path.display()
            )));
        }
        let yaml = fs::read_to_string(path).at("read", path)?;
        Self::parse(&yaml).map_err(|reason| {
            CommandError::usage(format!("{} holds no rules of dive's: {reason}", path.display()))
                .hint("its rules are lowestEfficiency, highestWastedBytes and highestUserWastedPercent")
        })
    }

    fn parse(yaml: &str) -> Result<Self, String> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Rules {
            lowest_efficiency: Option<Value>,
            highest_wasted_bytes: Option<Value>,
            highest_user_wasted_percent: Option<Value>,
        }
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            rules: Option<Rules>,
        }
        let file: File = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        let rules = file.rules.unwrap_or_default();
        // What dive applies where a file is silent.
        let ratio = |value: Option<Value>, default: f64| match value {
            None => Ok(Some(default)),
            Some(value) => value.enabled().map(|text| parse_ratio(&text)).transpose(),
        };
        Ok(DiveRules {
            lowest_efficiency: ratio(rules.lowest_efficiency, 0.9)?,
            highest_user_wasted_ratio: ratio(rules.highest_user_wasted_percent, 0.1)?,
            highest_wasted_bytes: rules
                .highest_wasted_bytes
                .and_then(Value::enabled)
                .map(|text| {
                    let size: Result<ByteSize, _> = text.replace(' ', "").parse();
                    size.map(ByteSize::bytes)
                        .map_err(|error| format!("{text}: {error}"))
                })
                .transpose()?,
        })
    }
}

/// YAML has numbers and words.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Number(f64),
    Text(String),
}

impl Value {
    fn enabled(self) -> Option<String> {
        match self {
            Value::Number(number) => Some(number.to_string()),
            Value::Text(text) if text == "disabled" => None,
            Value::Text(text) => Some(text),
        }
    }
}

impl Limits {
    /// An error that names every limit an image is beyond.
    pub(super) fn check(&self, analysis: &Analysis) -> Result<(), CommandError> {
        let mut broken = Vec::new();
        for (number, (image, metrics)) in analysis.images.iter().zip(&analysis.metrics).enumerate() {
            let found = self.broken_by(metrics, analysis.pull_bytes(number));
            let name = &image.image.reference;
            broken.extend(found.into_iter().map(|limit| format!("{name} {limit}")));
        }
        match broken.len() {
            0 => Ok(()),
            _ => Err(CommandError::failed(broken.join("; "))),
        }
    }

    fn broken_by(&self, metrics: &ImageMetrics, pull_bytes: u64) -> Vec<String> {
        let mut broken = Vec::new();
        let wasted = metrics.wasted_bytes();
        match self.max_wasted {
            Some(Share::Bytes(most)) if wasted > most => {
                broken.push(format!("wastes {}, {} are allowed", bytes(wasted), bytes(most)));
            }
            Some(Share::Ratio(most)) if metrics.wasted_ratio() > most => {
                broken.push(format!(
                    "wastes {:.2} % of its files, {:.2} % are allowed",
                    metrics.wasted_ratio() * 100.0,
                    most * 100.0
                ));
            }
            _ => {}
        }
        let mut below = |name: &str, found: f64, least: Option<f64>| {
            if let Some(least) = least.filter(|&least| found < least) {
                broken.push(format!("has {name} {found:.4}, {least} is the least"));
            }
        };
        below("the efficiency", metrics.efficiency(), self.min_efficiency);
        below(
            "dive's efficiency",
            metrics.dive.efficiency,
            self.dive.lowest_efficiency,
        );
        if let Some(most) = self.max_pull_bytes.filter(|&most| pull_bytes > most) {
            broken.push(format!(
                "pulls {}, {} are allowed",
                bytes(pull_bytes),
                bytes(most)
            ));
        }
        let dive = &metrics.dive;
        if let Some(most) = self
            .dive
            .highest_wasted_bytes
            .filter(|&most| dive.wasted_bytes > most)
        {
            let wasted = bytes(dive.wasted_bytes);
            broken.push(format!(
                "wastes {wasted} by dive's count, {} are allowed",
                bytes(most)
            ));
        }
        let most = self.dive.highest_user_wasted_ratio;
        if let Some(most) = most.filter(|&most| dive.user_wasted_ratio > most) {
            broken.push(format!(
                "wastes {:.4} of its upper layers by dive's count, {most} is the most",
                dive.user_wasted_ratio
            ));
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_dive_are_numbers_texts_or_disabled() {
        let rules = DiveRules::parse(
            "rules:\n  # comment\n  lowestEfficiency: 0.95\n  highestWastedBytes: 20MB\n  highestUserWastedPercent: \"0.20\"\n",
        );
        assert_eq!(
            rules.unwrap(),
            DiveRules {
                lowest_efficiency: Some(0.95),
                highest_wasted_bytes: Some(20_000_000),
                highest_user_wasted_ratio: Some(0.2),
            }
        );
        let rules = DiveRules::parse("rules:\n  lowestEfficiency: disabled\n").unwrap();
        assert_eq!(
            rules,
            DiveRules {
                lowest_efficiency: None,
                highest_wasted_bytes: None,
                highest_user_wasted_ratio: Some(0.1),
            },
            "dive's defaults apply to what the file does not name"
        );
        assert!(DiveRules::parse("rules:\n  lowestEfficiency: 7\n").is_err());
        assert!(DiveRules::parse("rules: [").is_err());
    }

    #[test]
    fn wasted_is_bytes_or_a_percentage() {
        assert!(matches!("20MB".parse(), Ok(Share::Bytes(20_000_000))));
        assert!(matches!("5%".parse(), Ok(Share::Ratio(ratio)) if ratio == 0.05));
        for wrong in ["x", "120%", "-1%", ""] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }
}
