//! Platforms: which of an index's images is meant.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// `os/architecture[/variant]`, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `amd64`, `arm64`.
    #[serde(default)]
    pub architecture: String,
    /// `v7`, `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A text that is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a platform; one is written os/architecture[/variant], like linux/arm64")]
pub struct ParsePlatformError(String);

impl Platform {
    /// Linux on this machine's processor.
    pub fn native() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "x86" => ("386", None),
            "arm" => ("arm", Some("v7".to_owned())),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant,
        }
    }

    /// Whether an image for `self` is what someone who wants `wanted` may get.
    pub fn satisfies(&self, wanted: &Platform) -> bool {
        self.distance(wanted).is_some()
    }

    /// How far an image for `self` is from what `wanted` asks for: 0 when it is that, more the older the variant it is for;
    /// none when it does not run there.
    pub(crate) fn distance(&self, wanted: &Platform) -> Option<u32> {
        let (architecture, variant) = self.processor();
        let (wanted_architecture, wanted_variant) = wanted.processor();
        if self.os != wanted.os || architecture != wanted_architecture {
            return None;
        }
        if variant == wanted_variant {
            return Some(0);
        }
        // Numbered variants run what was made for those before them.
        let number = |variant: &str| variant.strip_prefix('v')?.parse::<u32>().ok();
        let distance = number(&wanted_variant)?.checked_sub(number(&variant)?);
        distance.filter(|&distance| distance > 0)
    }

    /// Architecture and variant in one spelling, as containerd has it: what nobody says is v7 of arm, v8 of arm64, v1 of amd64.
    fn processor(&self) -> (&str, Cow<'_, str>) {
        let said = self.variant.as_deref().unwrap_or_default();
        let (architecture, variant) = match self.architecture.as_str() {
            "armhf" => return ("arm", "v7".into()),
            "armel" => return ("arm", "v6".into()),
            "x86_64" | "x86-64" => ("amd64", said),
            "aarch64" => ("arm64", said),
            "i386" => ("386", said),
            other => (other, said),
        };
        let variant = match (architecture, variant) {
            ("arm", "") => "v7".into(),
            ("arm64", "") => "v8".into(),
            ("amd64", "") => "v1".into(),
            ("arm" | "arm64" | "amd64", number)
                if number.starts_with(|first: char| first.is_ascii_digit()) =>
            {
                format!("v{number}").into()
            }
            (_, variant) => variant.into(),
        };
        (architecture, variant)
    }

    /// Whether nothing that `self` says speaks against `wanted`: configs leave out what their builder did not know.
    pub(crate) fn may_be(&self, wanted: &Platform) -> bool {
        let or = |said: &str, wanted: &str| if said.is_empty() { wanted } else { said }.to_owned();
        let variant = self.variant.clone().filter(|variant| !variant.is_empty());
        let filled = Platform {
            os: or(&self.os, &wanted.os),
            architecture: or(&self.architecture, &wanted.architecture),
            variant: variant.or_else(|| wanted.variant.clone()),
        };
        filled.satisfies(wanted)
    }

    /// What attestations carry instead of a platform.
    pub(crate) fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .iter()
            .try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<_> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(ParsePlatformError(text.to_owned())),
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(ParsePlatformError(text.to_owned()));
        }
        Ok(Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_runs_what_is_for_it_and_for_those_before_it() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        for (image, wanted, distance) in [
            ("linux/arm/v7", "linux/arm", Some(0)),
            ("linux/arm", "linux/arm/v7", Some(0)),
            ("linux/arm/7", "linux/arm/v7", Some(0)),
            ("linux/armhf", "linux/arm", Some(0)),
            ("linux/arm/v6", "linux/arm/v7", Some(1)),
            ("linux/arm/v5", "linux/arm", Some(2)),
            ("linux/arm/v7", "linux/arm/v6", None),
            ("linux/arm/v8", "linux/arm", None),
            ("linux/arm64", "linux/arm64/v8", Some(0)),
            ("linux/arm64/v8", "linux/arm64", Some(0)),
            ("linux/aarch64", "linux/arm64", Some(0)),
            ("linux/arm/v7", "linux/arm64", None),
            ("linux/amd64/v1", "linux/amd64", Some(0)),
            ("linux/amd64", "linux/x86_64", Some(0)),
            ("linux/amd64", "linux/amd64/v3", Some(2)),
            ("linux/amd64/v3", "linux/amd64", None),
            ("linux/ppc64le/power9", "linux/ppc64le/power9", Some(0)),
            ("linux/ppc64le/power9", "linux/ppc64le", None),
            ("windows/amd64", "linux/amd64", None),
        ] {
            assert_eq!(
                platform(image).distance(&platform(wanted)),
                distance,
                "{image} for {wanted}"
            );
        }
        let empty = Platform {
            variant: Some(String::new()),
            ..platform("linux/arm")
        };
        assert_eq!(empty.distance(&platform("linux/arm/v7")), Some(0));
    }

    #[test]
    fn platforms_have_two_or_three_parts() {
        for wrong in ["linux", "linux/", "/amd64", "linux/arm/v7/x", ""] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong}");
        }
        assert_eq!(
            "linux/arm/v7".parse::<Platform>().unwrap().to_string(),
            "linux/arm/v7"
        );
    }
}
