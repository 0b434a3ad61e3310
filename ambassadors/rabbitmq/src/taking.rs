//! Takes messages for as long as the process lives: connects, consumes, looks at the queue, and again when any of it is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use crate::client::{PARTING, Wire};
use crate::shared::{Ending, Link, Shared};
use crate::trouble::{Kind, Trouble, taking};

/// The first pause before another attempt, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// A connection that lasted so long was a good one: what ended it is not what ended the one before.
const GOOD: Duration = Duration::from_secs(30);

/// Between attempts at a message that cannot be read though it comes alone: each is a delivery, and a queue may have a limit of these.
const UNREADABLE: Duration = Duration::from_secs(60);

/// How long what is told of one thing may come after what is told of another.
const MOMENT: Duration = Duration::from_millis(200);

/// A connection whose messages are ours.
struct Session {
    wire: Wire,
    channel: Channel,
    consumer: Consumer,
    link: Link,
    /// How many more come one at a time, where they do.
    alone: Option<u16>,
    /// How much waited at the last look.
    waited: u32,
    /// Since when the broker does not know.
    unknown_since: Option<Instant>,
}

/// Takes messages until the end is asked for, and gives back what is held then.
pub(crate) async fn take(shared: Arc<Shared>) {
    let mut ending = shared.ending.subscribe();
    let mut pause = PAUSES.0;
    loop {
        let opened = tokio::select! {
            opened = Session::open(&shared) => opened,
            () = asked(&mut ending) => break,
        };
        let began = Instant::now();
        let ended = match opened {
            Ok(session) => session.run(&shared, &mut ending).await,
            Err(trouble) => Err(trouble),
        };
        shared.unlinked(ended.as_ref().err().is_none_or(|trouble| trouble.is_noticed));
        let Err(trouble) = ended else { break };
        // It ends every connection that it comes by. So that what comes with it is not given back with it again and again, which queues count,
        // it comes alone from now on.
        let was_alone = trouble.kind == Kind::Unreadable && shared.one_by_one.swap(true, Ordering::Relaxed);
        shared.metrics.failed(trouble.word());
        if shared.window.lost(trouble.to_string()) {
            warn!(error = %trouble, "the queue cannot be seen");
        }
        if began.elapsed() > GOOD {
            pause = PAUSES.0;
        }
        let wait = if was_alone { UNREADABLE } else { pause.mul_f64(0.5 + fastrand::f64() / 2.0) };
        tokio::select! {
            () = sleep(wait) => {}
            () = asked(&mut ending) => break,
        }
        pause = (pause * 2).min(PAUSES.1);
    }
    shared.ending.send_replace(Ending::Done);
}

impl Session {
    /// Connects, and has the broker hand us messages, at most as many as the window holds before some are settled.
    async fn open(shared: &Shared) -> Result<Self, Trouble> {
        let wire = Wire::connect(&shared.settings.broker).await?;
        let alone = shared.one_by_one.load(Ordering::Relaxed).then_some(shared.settings.window.window);
        match Self::consume(shared, &wire, alone.map_or(shared.settings.window.window, |_| 1)).await {
            Ok((channel, consumer, link, waited)) => {
                Ok(Self { wire, channel, consumer, link, alone, waited, unknown_since: None })
            }
            Err(trouble) => Err(leave(wire, trouble).await),
        }
    }

    async fn consume(shared: &Shared, wire: &Wire, most: u16) -> Result<(Channel, Consumer, Link, u32), Trouble> {
        let queue = &shared.settings.queue;
        let opening = async {
            let channel = wire.channel().await?;
            queue.declare(&channel).await?;
            let waited = queue.look(&channel).await?.messages;
            let link = shared.linked(channel.clone());
            let consumer = consumer(&channel, &queue.name, most).await?;
            Ok((channel, consumer, link, waited))
        };
        within(shared, opening).await
    }

    /// What could not be read is gone, or was taken by others: as many may come again as there is room for.
    async fn widen(&mut self, shared: &Arc<Shared>) -> Result<(), Trouble> {
        self.alone = None;
        let anew = async {
            self.channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default()).await?;
            consumer(&self.channel, &shared.settings.queue.name, shared.settings.window.window).await
        };
        let anew = within(shared, anew).await?;
        let mut before = std::mem::replace(&mut self.consumer, anew);
        shared.one_by_one.store(false, Ordering::Relaxed);
        while let Some(Some(delivery)) = before.next().now_or_never() {
            self.came(shared, Some(delivery))?;
        }
        Ok(())
    }

    /// Takes what comes until it is over, or until the end is asked for.
    async fn run(mut self, shared: &Arc<Shared>, ending: &mut watch::Receiver<Ending>) -> Result<(), Trouble> {
        let over = tokio::select! {
            trouble = self.serve(shared) => Some(trouble),
            () = asked(ending) => None,
        };
        match over {
            Some(trouble) => Err(leave(self.wire, trouble).await),
            None => {
                // What is on the way to us is given back with the rest; RabbitMQ puts all of it where it was.
                let cancelling = self.channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
                let _ = timeout(PARTING, cancelling).await;
                self.wire.part().await;
                Ok(())
            }
        }
    }

    async fn serve(&mut self, shared: &Arc<Shared>) -> Trouble {
        let mut ticks = interval(shared.settings.poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let went = tokio::select! {
                delivery = self.consumer.next() => self.came(shared, delivery),
                _ = ticks.tick() => self.look(shared).await,
                () = shared.look.notified() => self.look(shared).await,
            };
            let went = match went {
                Ok(()) if self.alone == Some(0) => self.widen(shared).await,
                went => went,
            };
            if let Err(trouble) = went {
                return self.why(shared).await.unwrap_or(trouble);
            }
        }
    }

    /// A channel that is over refuses whatever is asked of it; why it is, its consumer is told, unless it has been.
    async fn why(&mut self, shared: &Shared) -> Option<Trouble> {
        let told = async {
            loop {
                match self.consumer.next().await? {
                    Ok(_) => {}
                    Err(error) => return Some(Trouble::of(&error, &taking(&shared.settings.queue.name))),
                }
            }
        };
        timeout(MOMENT, told).await.ok().flatten()
    }

    /// Asks how much waits, and takes what comes meanwhile.
    async fn look(&mut self, shared: &Arc<Shared>) -> Result<(), Trouble> {
        let look = shared.window.look();
        let channel = self.channel.clone();
        let mut asking = std::pin::pin!(within(shared, shared.settings.queue.look(&channel)));
        let waiting = loop {
            tokio::select! {
                waiting = &mut asking => break waiting?,
                delivery = self.consumer.next() => self.came(shared, delivery)?,
            }
        };
        // What came before the answer is ours, and waits behind the window no more.
        while let Some(delivery) = self.consumer.next().now_or_never() {
            self.came(shared, delivery)?;
        }
        if waiting.consumers == 0 {
            return self.unknown(shared);
        }
        self.unknown_since = None;
        shared.metrics.looked(waiting.messages, waiting.consumers);
        // What left the queue since the last look may not be here yet: members of a cluster hand it over on their own ways.
        let is_under_way = self.waited > 0 && waiting.messages == 0 && shared.window.is_empty();
        let unseen = u32::from(is_under_way || shared.is_owed());
        self.waited = waiting.messages;
        if shared.window.seen(look, waiting.messages.max(unseen).into()) {
            info!(queue = shared.settings.queue.name, "the queue is back");
        }
        Ok(())
    }

    /// A quorum queue without a leader, or one that is slow to answer, is said to be empty, and to have no consumers. But we are one.
    fn unknown(&mut self, shared: &Shared) -> Result<(), Trouble> {
        let since = *self.unknown_since.get_or_insert_with(Instant::now);
        match since.elapsed() < shared.settings.broker.patience() {
            true => Ok(()),
            false => Err(Trouble::unknown(&taking(&shared.settings.queue.name))),
        }
    }

    fn came(&mut self, shared: &Arc<Shared>, delivery: Option<lapin::Result<Delivery>>) -> Result<(), Trouble> {
        match delivery {
            Some(Ok(delivery)) => {
                shared.deliver(&self.link, &delivery);
                self.alone = self.alone.map(|left| left.saturating_sub(1));
                Ok(())
            }
            Some(Err(error)) => Err(Trouble::of(&error, &taking(&shared.settings.queue.name))),
            None => Err(Trouble::cancelled(&shared.settings.queue.name)),
        }
    }
}

/// Who is handed at most so many messages before some are settled. A stream, which would show its messages too, knows no priorities of
/// consumers, and so refuses this; to any other queue it says what is so anyway.
async fn consumer(channel: &Channel, queue: &str, most: u16) -> lapin::Result<Consumer> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-priority".into(), AMQPValue::LongInt(0));
    channel.basic_qos(most, BasicQosOptions::default()).await?;
    channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), arguments).await
}

/// Takes leave of a broker that answers, so that its log does not say that we were cut off.
async fn leave(wire: Wire, trouble: Trouble) -> Trouble {
    if trouble.kind != Kind::Away {
        wire.part().await;
    }
    trouble
}

/// A broker that does not answer counts as lost, whatever else it does.
async fn within<T>(shared: &Shared, answer: impl Future<Output = lapin::Result<T>>) -> Result<T, Trouble> {
    let patience = shared.settings.broker.patience();
    match timeout(patience, answer).await {
        Ok(answer) => answer.map_err(|error| Trouble::of(&error, &taking(&shared.settings.queue.name))),
        Err(_elapsed) => Err(Trouble::silent(&shared.settings.broker.reaching(), patience, "--heartbeat")),
    }
}

async fn asked(ending: &mut watch::Receiver<Ending>) {
    // Fails only where nobody could ask any more.
    let _ = ending.wait_for(|ending| *ending != Ending::No).await;
}
