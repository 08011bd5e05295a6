//! What a fetch asks for, and how that is said in each version of the protocol.

use std::num::NonZeroU32;

use bstr::BString;
use gix::{
    ObjectId,
    protocol::{self, fetch::Arguments},
};
use gix_transport::Protocol;

/// What a fetch asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct FetchRequest<'a> {
    /// Objects wanted, with what they reach.
    pub(crate) wants: Vec<ObjectId>,
    /// Commits that are here, with what they reach as far as `shallow` and the filter go; the remote may not know them.
    /// All are told at once, without a round of negotiation.
    pub(crate) haves: Vec<ObjectId>,
    /// Commits here whose parents are not: the shallow boundary.
    pub(crate) shallow: Vec<ObjectId>,
    /// Where the history that is sent ends.
    pub(crate) depth: Option<Depth>,
    /// A filter the remote is known to support.
    pub(crate) filter: Option<&'a str>,
    /// Whether tags of what is sent are sent too.
    pub(crate) include_tag: bool,
}

/// How much history a fetch brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// So many commits, from the wants.
    Commits(NonZeroU32),
    /// So many commits more than there are, from the shallow boundary.
    More(NonZeroU32),
    /// All there is: the boundary goes away.
    All,
}

impl Depth {
    /// What git takes for infinite.
    const INFINITE: usize = 0x7fff_ffff;

    fn commits(self) -> usize {
        match self {
            Depth::Commits(depth) | Depth::More(depth) => depth.get() as usize,
            Depth::All => Self::INFINITE,
        }
    }
}

impl FetchRequest<'_> {
    /// What follows `command=fetch` in version 2, all of it in one request.
    pub(super) fn arguments(&self) -> Vec<BString> {
        // Its progress would only be thrown away; what it has to say otherwise still comes.
        let mut lines: Vec<BString> = vec!["ofs-delta".into(), "no-progress".into()];
        if self.include_tag {
            lines.push("include-tag".into());
        }
        lines.extend(self.wants.iter().map(|id| format!("want {id}").into()));
        lines.extend(self.shallow.iter().map(|id| format!("shallow {id}").into()));
        if let Some(depth) = self.depth {
            lines.push(format!("deepen {}", depth.commits()).into());
            if matches!(depth, Depth::More(_)) {
                lines.push("deepen-relative".into());
            }
        }
        lines.extend(self.filter.map(|filter| format!("filter {filter}").into()));
        lines.extend(self.haves.iter().map(|id| format!("have {id}").into()));
        lines.push("done".into());
        lines
    }

    /// The same for the versions before.
    pub(super) fn old_arguments(
        &self,
        version: Protocol,
        mut features: Vec<protocol::command::Feature>,
        quiet: bool,
    ) -> Arguments {
        if matches!(self.depth, Some(Depth::More(_))) {
            features.push(("deepen-relative", None));
        }
        let mut arguments = Arguments::new(version, features, false);
        if quiet {
            arguments.add_feature("no-progress");
        }
        if self.include_tag && arguments.can_use_include_tag() {
            arguments.use_include_tag();
        }
        self.wants.iter().for_each(|id| arguments.want(id));
        self.shallow.iter().for_each(|id| arguments.shallow(id));
        if let Some(depth) = self.depth {
            arguments.deepen(depth.commits());
        }
        if let Some(filter) = self.filter {
            arguments.filter(filter);
        }
        self.haves.iter().for_each(|id| arguments.have(id));
        arguments
    }
}
