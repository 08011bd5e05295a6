//! What a new image says of itself.

use clap::Args;
use headstart_image::build::{ConfigChange, Pair};

use super::make::epoch;
use crate::{context::Context, env_vars, error::CommandError};

/// What the image says of itself.
#[derive(Debug, Args)]
#[command(next_help_heading = "Config of the image")]
pub(super) struct ConfigArgs {
    /// Program to run; again for each further word. Drops the command of the base
    #[arg(
        long,
        conflicts_with = "is_planned",
        value_name = "WORD",
        allow_hyphen_values = true
    )]
    entrypoint: Vec<String>,
    /// Its arguments; again for each further word
    #[arg(
        long,
        conflicts_with = "is_planned",
        value_name = "WORD",
        allow_hyphen_values = true
    )]
    cmd: Vec<String>,
    /// Environment variable, beside or over those of the base
    #[arg(long, conflicts_with = "is_planned", value_name = "NAME=VALUE", value_parser = parse_pair)]
    env: Vec<Pair>,
    /// Folder to start in
    #[arg(long, conflicts_with = "is_planned", value_name = "DIR", value_parser = parse_folder)]
    workdir: Option<String>,
    /// Who runs the program
    #[arg(long, conflicts_with = "is_planned", value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Label, beside or over those of the base
    #[arg(long, conflicts_with = "is_planned", value_name = "NAME=VALUE", value_parser = parse_pair)]
    label: Vec<Pair>,
    /// Port the program listens on
    #[arg(long, conflicts_with = "is_planned", value_name = "PORT[/PROTOCOL]", value_parser = parse_port)]
    expose: Vec<String>,
}

fn parse_pair(text: &str) -> Result<Pair, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(Pair {
            name: name.to_owned(),
            value: value.to_owned(),
        }),
        _ => Err("it is written NAME=VALUE".to_owned()),
    }
}

/// Runtimes refuse any other.
fn parse_folder(text: &str) -> Result<String, String> {
    match text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err("it is a path of the image, from the root".to_owned()),
    }
}

fn parse_port(text: &str) -> Result<String, String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match port.parse::<u16>() {
        Ok(1..) if ["tcp", "udp", "sctp"].contains(&protocol) => Ok(format!("{port}/{protocol}")),
        _ => Err("a port is a number up to 65535, and maybe /tcp, /udp or /sctp".to_owned()),
    }
}

impl ConfigArgs {
    pub(super) fn change(&self, context: &Context) -> Result<ConfigChange, CommandError> {
        let words = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
        let created = jiff::Timestamp::from_second(epoch(context)?).map_err(|_| {
            CommandError::usage(format!(
                "${} is too far in the future",
                env_vars::SOURCE_DATE_EPOCH
            ))
        })?;
        Ok(ConfigChange {
            entrypoint: words(&self.entrypoint),
            command: words(&self.cmd),
            environment: self.env.clone(),
            working_folder: self.workdir.clone(),
            user: self.user.clone(),
            labels: self.label.clone(),
            exposed_ports: self.expose.clone(),
            created: created.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_a_protocol() {
        assert_eq!(parse_port("80").as_deref(), Ok("80/tcp"));
        assert_eq!(parse_port("53/udp").as_deref(), Ok("53/udp"));
        assert!(parse_port("0").is_err() && parse_port("80/x").is_err());
    }
}
