//! What `--check` asks of the broker, and what it says of the queue. It takes nothing: RabbitMQ shows no message without handing it out, and
//! a queue may count that.

use std::io::Write;

use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ErrorKind};
use sidecar::Failure;
use tokio::time::timeout;

use crate::args::Settings;
use crate::client::Wire;
use crate::queue::Waiting;
use crate::trouble::{Trouble, taking};

/// Whether there is such a queue, and we may take its messages; who asks, and how much waits.
///
/// # Errors
/// Exit 77 when credentials are refused or a right is missing, 78 when there is no such queue or the settings are wrong, 69 when no broker
/// answers.
pub(crate) async fn check(settings: &Settings, out: &mut (impl Write + Send)) -> Result<(), Failure> {
    let Waiting { messages, consumers } = ask(settings).await.map_err(Trouble::failure)?;
    let listed = messages.min(settings.window.window.into());
    writeln!(out, "queue {} at {}", settings.queue.name, settings.broker.whom())?;
    writeln!(out, "{messages} messages wait, and {consumers} consumers take them")?;
    writeln!(out, "{listed} would be listed; none was taken to be shown, which a queue may count as a delivery")?;
    out.flush()?;
    Ok(())
}

async fn ask(settings: &Settings) -> Result<Waiting, Trouble> {
    let wire = Wire::connect(&settings.broker).await?;
    let patience = settings.broker.patience();
    let asking = async {
        let channel = wire.channel().await?;
        let waiting = settings.queue.look(&channel).await?;
        // It is there: nothing is made, and whether it is what is said of it, and we may, is looked at all the same.
        settings.queue.declare(&channel).await?;
        may_take(settings, &channel).await?;
        Ok(waiting)
    };
    let asked = timeout(patience, asking).await;
    let asked = asked.map_err(|_elapsed| Trouble::silent(&settings.broker.reaching(), patience, "--heartbeat"))?;
    let asked = asked.map_err(|error| Trouble::of(&error, &taking(&settings.queue.name)));
    wire.part().await;
    asked
}

/// Looking needs no right. So that nothing is taken, it asks to consume with a priority that is none: whether we may is looked at first.
async fn may_take(settings: &Settings, channel: &Channel) -> lapin::Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-priority".into(), AMQPValue::LongString("none".into()));
    channel.basic_qos(1, BasicQosOptions::default()).await?;
    let name = settings.queue.name.as_str().into();
    match channel.basic_consume(name, "".into(), BasicConsumeOptions::default(), arguments).await {
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            ErrorKind::ProtocolError(refused) if is_of_a_queue(refused.get_message().as_str()) => Ok(()),
            _ => Err(error),
        },
    }
}

/// Whether what is refused is our priority, and not that there is one, as by a stream.
fn is_of_a_queue(refusal: &str) -> bool {
    refusal.contains("x-priority") && !refusal.contains("rabbit_stream_queue")
}
