//! Conversations with one remote, one after the other: a new one is begun where the last one broke off.

use super::{Conversation, Remote, RemoteError};
use crate::{
    progress::Progress,
    retry::{Transient, retry},
};

/// Keeps a conversation going. What has to be said again when it breaks is for the user of it to know.
pub(crate) struct Session<'a> {
    remote: &'a Remote<'a>,
    progress: &'a dyn Progress,
    open: Option<Conversation<'a>>,
}

impl<'a> Session<'a> {
    /// Begins when somebody has something to say. New attempts are told to `progress`.
    pub(crate) fn new(remote: &'a Remote<'a>, progress: &'a dyn Progress) -> Self {
        Session {
            remote,
            progress,
            open: None,
        }
    }

    /// The conversation that is open, or a new one.
    pub(crate) fn conversation(&mut self) -> Result<&mut Conversation<'a>, RemoteError> {
        self.hold(|_| Ok::<_, RemoteError>(()))?;
        Ok(self.open.as_mut().expect("it is open since it was held"))
    }

    /// Ends the conversation that is open: the next will be a new one.
    pub(crate) fn pause(&mut self) {
        self.open = None;
    }

    /// Ends the conversation after a fetch where the protocol has no more than one in it.
    pub(crate) fn pause_if_over(&mut self) {
        if self
            .open
            .as_ref()
            .is_some_and(|conversation| !conversation.takes_more_commands())
        {
            self.pause();
        }
    }

    /// Says and hears something, from the start again in a new conversation where that failed in a way that may pass.
    pub(crate) fn hold<T, E>(
        &mut self,
        mut say: impl FnMut(&mut Conversation<'a>) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: Transient + From<RemoteError>,
    {
        let Session {
            remote,
            progress,
            open,
        } = self;
        retry(&remote.retries, *progress, remote.interrupt, || {
            let mut conversation = match open.take() {
                Some(conversation) => conversation,
                None => remote.connect()?,
            };
            let heard = say(&mut conversation)?;
            *open = Some(conversation);
            Ok(heard)
        })
    }
}
