//! What is done with a list and a stream alike.

use crate::args::{Kind, Settings};
use crate::list::{Consumer, List};
use crate::message::{Id, Message};
use crate::server::Connection;
use crate::trouble::Trouble;

/// A list, or a stream.
#[derive(Debug)]
pub(crate) enum Queue {
    List(List),
}

/// What was taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) messages: Vec<Message>,
    /// How many are left.
    pub(crate) left: u64,
}

/// What there is beside what we hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// That nobody has taken.
    pub(crate) waiting: u64,
    /// That somebody has taken whose lease is over.
    pub(crate) orphaned: u64,
    /// Who those are, where they are known.
    pub(crate) dead: Vec<String>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done.
    Done,
    /// It never will be, and why: for the dead letter key.
    Dead(String),
}

impl Queue {
    pub(crate) fn new(settings: &Settings) -> Self {
        let consumer = Consumer {
            consumer: settings.consumer.clone(),
            lease: settings.lease,
            dead_letter_key: settings.dead_letter_key.clone(),
            most: settings.message.most(),
        };
        match settings.kind.clone() {
            Kind::List { take, prefix } => Self::List(List::new(settings.key.clone(), prefix, take, consumer)),
            Kind::Stream { .. } => unimplemented!("streams come next"),
        }
    }

    /// Makes what is missing for us to take anything, and says that we are here.
    pub(crate) async fn begin(&self, connection: &Connection) -> Result<(), Trouble> {
        match self {
            Self::List(list) => list.renew(connection).await.map(drop),
        }
    }

    /// The ids of what the server knows us to hold.
    pub(crate) async fn ours(&self, connection: &Connection) -> Result<Vec<Id>, Trouble> {
        match self {
            Self::List(list) => list.ours(connection).await,
        }
    }

    /// Those of them that we hold still, read anew.
    pub(crate) async fn fetch(&self, connection: &Connection, ids: &[Id]) -> Result<Vec<Message>, Trouble> {
        match self {
            Self::List(list) => list.fetch(connection, ids).await,
        }
    }

    /// Looks at what we do not hold.
    pub(crate) async fn survey(&self, connection: &Connection) -> Result<Survey, Trouble> {
        match self {
            Self::List(list) => list.survey(connection).await,
        }
    }

    /// Takes over some of what that survey found orphaned.
    pub(crate) async fn adopt(
        &self,
        connection: &Connection,
        survey: &Survey,
        room: usize,
    ) -> Result<Vec<Message>, Trouble> {
        match self {
            Self::List(list) => {
                let mut adopted = Vec::new();
                for dead in &survey.dead {
                    if adopted.len() < room {
                        adopted.append(&mut list.adopt(connection, dead, room - adopted.len()).await?);
                    }
                }
                Ok(adopted)
            }
        }
    }

    /// Takes at most so many that nobody has.
    pub(crate) async fn take(&self, connection: &Connection, room: usize) -> Result<Batch, Trouble> {
        match self {
            Self::List(list) => list.take(connection, room).await,
        }
    }

    /// Says that we are here, and hold these. Those of them that we hold no more.
    ///
    /// # Errors
    /// [`Trouble`], of the kind [`Lapsed`](crate::trouble::Kind::Lapsed) too.
    pub(crate) async fn renew(&self, connection: &Connection, _held: &[Id]) -> Result<Vec<Id>, Trouble> {
        match self {
            Self::List(list) => match list.renew(connection).await? {
                true => Ok(Vec::new()),
                false => Err(Trouble::lapsed("hold what was taken")),
            },
        }
    }

    /// Settles a message, whoever holds it by now. Whether anybody did.
    pub(crate) async fn settle(&self, connection: &Connection, id: &Id, verdict: &Verdict) -> Result<bool, Trouble> {
        match self {
            Self::List(list) => list.settle(connection, id, verdict).await,
        }
    }

    /// Has others take over at once what we hold.
    pub(crate) async fn leave(&self, connection: &Connection, _held: &[Id]) -> Result<(), Trouble> {
        match self {
            Self::List(list) => list.leave(connection).await,
        }
    }
}
