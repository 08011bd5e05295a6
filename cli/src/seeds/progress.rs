//! Of bringing a seed here, only the transfer is shown: the files that people wait for are those of the clone.

use headstart_store::{Progress, Step, Warning};

use crate::ui::ProgressBars;

pub(super) struct FetchOnly<'a>(pub(super) &'a ProgressBars);

impl Progress for FetchOnly<'_> {
    fn start(&self, step: Step, total: Option<u64>) {
        if step == Step::Fetch {
            Progress::start(self.0, step, total);
        }
    }

    fn advance(&self, step: Step, amount: u64) {
        if step == Step::Fetch {
            Progress::advance(self.0, step, amount);
        }
    }

    fn finish(&self, step: Step) {
        if step == Step::Fetch {
            Progress::finish(self.0, step);
        }
    }

    fn warn(&self, warning: &Warning) {
        // A pool on another file system costs a copy.
        if !matches!(warning, Warning::Pool { .. } | Warning::NoReflink) {
            Progress::warn(self.0, warning);
        }
    }
}
