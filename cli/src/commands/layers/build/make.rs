//! How layers are made, by whichever command.

use std::{num::NonZero, thread};

use clap::{Args, ValueEnum};
use headstart_image::{
    Compression,
    build::{BuildOptions, Times},
};

use crate::{context::Context, env_vars, error::CommandError};

/// How layers are made.
#[derive(Debug, Args)]
pub(in super::super) struct MakeArgs {
    /// How new layers are compressed [default: gzip]
    #[arg(long, value_enum, default_value_t = CompressionArg::Gzip, hide_default_value = true, hide_possible_values = true, value_name = "gzip|zstd|none")]
    compression: CompressionArg,
    /// Times of files: keep them, or fixed at $SOURCE_DATE_EPOCH, else 1970
    #[arg(long, value_enum, hide_possible_values = true, value_name = "keep|fixed")]
    times: Option<TimesArg>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in super::super) enum CompressionArg {
    Gzip,
    Zstd,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in super::super) enum TimesArg {
    Keep,
    Fixed,
}

impl MakeArgs {
    pub(in super::super) fn options<'a>(&self, context: &'a Context) -> BuildOptions<'a> {
        BuildOptions {
            compression: match self.compression {
                CompressionArg::Gzip => Compression::Gzip,
                CompressionArg::Zstd => Compression::Zstd,
                CompressionArg::None => Compression::None,
            },
            threads: thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
            interrupt: &context.interrupt,
        }
    }

    pub(in super::super) fn times(
        &self,
        context: &Context,
        default: TimesArg,
    ) -> Result<Times, CommandError> {
        Ok(match self.times.unwrap_or(default) {
            TimesArg::Keep => Times::Keep,
            TimesArg::Fixed => Times::Fixed(epoch(context)?),
        })
    }
}

/// The time that builds are to pretend: `$SOURCE_DATE_EPOCH`, else 1970.
pub(super) fn epoch(context: &Context) -> Result<i64, CommandError> {
    let Some(text) = context.var(env_vars::SOURCE_DATE_EPOCH) else {
        return Ok(0);
    };
    let seconds = text.to_str().and_then(|text| text.parse().ok());
    seconds.filter(|&seconds| seconds >= 0).ok_or_else(|| {
        let sentence = format!("${} is not a number of seconds", env_vars::SOURCE_DATE_EPOCH);
        CommandError::usage(sentence).hint("set it like $(git log -1 --format=%ct), or unset it")
    })
}
