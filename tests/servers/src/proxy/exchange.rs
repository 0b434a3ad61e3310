//! One client's connection: a request, what is done with it, its answer, and the next.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::http::{Broken, Framing, Head, pass};
use super::{Seen, Shared, Spoil, sign};

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Another request may come.
    Open,
    Closed,
    Reset,
}

/// Serves a connection until it ends, and tells how it shall be closed.
pub(super) async fn serve(client: &mut TcpStream, shared: &Shared) -> End {
    let (reading, mut writing) = client.split();
    let mut reading = BufReader::new(reading);
    loop {
        let end = match Head::read(&mut reading).await {
            Ok(Some(head)) => one(head, &mut reading, &mut writing, shared).await,
            Ok(None) | Err(_) => Ok(End::Closed),
        };
        match end.unwrap_or(End::Closed) {
            End::Open => {}
            End::Reset => return End::Reset,
            End::Closed => {
                let _ = writing.shutdown().await;
                // Closing with a request half read would be a reset, in which the answer is lost.
                let rest = async { while matches!(reading.read(&mut [0; 4096]).await, Ok(1..)) {} };
                let _ = tokio::time::timeout(Duration::from_secs(60), rest).await;
                return End::Closed;
            }
        }
    }
}

type Reading<'a> = BufReader<ReadHalf<'a>>;

async fn one(
    mut head: Head,
    reading: &mut Reading<'_>,
    writing: &mut WriteHalf<'_>,
    shared: &Shared,
) -> io::Result<End> {
    let spoil = shared.judge(seen(&head));
    match &spoil {
        Some(Spoil::ResetBefore) => return Ok(End::Reset),
        Some(Spoil::Answer(status, body)) => return answer(&head, *status, body, reading, writing).await,
        Some(Spoil::DropHeader(name)) => {
            head.remove(name);
            sign::again(&mut head, &shared.server);
        }
        Some(Spoil::Query(name, value)) => {
            head.set_query(name, value);
            sign::again(&mut head, &shared.server);
        }
        Some(Spoil::Delay(time)) => tokio::time::sleep(*time).await,
        Some(Spoil::Hold(open)) => {
            let _ = open.clone().wait_for(|open| *open).await;
        }
        Some(
            Spoil::ResetAfterBytes(_)
            | Spoil::TruncateAfter(_)
            | Spoil::LoseReply
            | Spoil::SetHeader(..)
            | Spoil::HoldReply(_),
        )
        | None => {}
    }
    forward(&head, spoil.as_ref(), reading, writing, shared).await
}

fn seen(head: &Head) -> Seen {
    let mut words = head.start.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = head.fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    Seen { n: 0, method, path: path.to_owned(), query: query.to_owned(), headers }
}

async fn answer(
    head: &Head,
    status: u16,
    body: &str,
    reading: &mut Reading<'_>,
    writing: &mut WriteHalf<'_>,
) -> io::Result<End> {
    // Who asks first whether to send a body is told no by the answer itself.
    let asks = head.get("expect").is_some();
    if !asks && !matches!(pass(reading, &mut tokio::io::sink(), head.request_framing(), u64::MAX).await, Ok(true)) {
        return Ok(End::Closed);
    }
    let mut answer = Head { start: format!("HTTP/1.1 {status} Spoilt"), fields: Vec::new() };
    answer.set("content-type", "application/xml".to_owned());
    answer.set("content-length", body.len().to_string());
    answer.set("x-amz-request-id", "SPOILT".to_owned());
    if asks {
        answer.set("connection", "close".to_owned());
    }
    answer.write(writing).await?;
    if !head.start.starts_with("HEAD ") {
        writing.write_all(body.as_bytes()).await?;
    }
    Ok(if asks { End::Closed } else { End::Open })
}

/// Passes the request on, body and all, and the answer back, both as they come.
async fn forward(
    head: &Head,
    spoil: Option<&Spoil>,
    reading: &mut Reading<'_>,
    writing: &mut WriteHalf<'_>,
    shared: &Shared,
) -> io::Result<End> {
    let Ok(mut server) = TcpStream::connect(&shared.server).await else { return Ok(End::Reset) };
    server.set_nodelay(true)?;
    let (from_server, mut to_server) = server.split();
    let mut from_server = BufReader::new(from_server);
    let method = head.start.split(' ').next().unwrap_or_default();

    let up = async {
        head.write(&mut to_server).await.or(Err(Broken::Writing))?;
        pass(reading, &mut to_server, head.request_framing(), u64::MAX).await
    };
    let down = reply(method, spoil, &mut from_server, writing, shared);
    tokio::pin!(up, down);
    let mut sent = None;
    loop {
        tokio::select! {
            result = &mut up, if sent.is_none() => match result {
                // The client is gone; the server shall see that too.
                Err(Broken::Reading) => return Ok(End::Closed),
                // The server wants no more of it, and says why.
                result => sent = Some(matches!(result, Ok(true))),
            },
            end = &mut down => return match end? {
                End::Open if sent != Some(true) => Ok(End::Closed),
                end => Ok(end),
            },
        }
    }
}

async fn reply(
    method: &str,
    spoil: Option<&Spoil>,
    from_server: &mut Reading<'_>,
    writing: &mut WriteHalf<'_>,
    shared: &Shared,
) -> io::Result<End> {
    let mut head = loop {
        let head = Head::read(from_server).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if !(100..200).contains(&head.status()) {
            break head;
        }
        head.write(writing).await?;
    };
    let framing = head.answer_framing(method);
    let (most, end) = match spoil {
        Some(Spoil::LoseReply) => {
            let _ = pass(from_server, &mut tokio::io::sink(), framing, u64::MAX).await;
            return Ok(End::Reset);
        }
        Some(Spoil::ResetAfterBytes(most)) => (*most, End::Reset),
        Some(Spoil::TruncateAfter(most)) => (*most, End::Closed),
        _ => (u64::MAX, End::Open),
    };
    if let Some(Spoil::HoldReply(open)) = spoil {
        shared.held.fetch_add(1, Ordering::SeqCst);
        let _ = open.clone().wait_for(|open| *open).await;
        shared.held.fetch_sub(1, Ordering::SeqCst);
    }
    if let Some(Spoil::SetHeader(name, value)) = spoil {
        head.set(name, value.clone());
    }
    head.write(writing).await?;
    let whole = match pass(from_server, writing, framing, most).await {
        Ok(whole) => whole,
        // What breaks off at the server breaks off at the client.
        Err(Broken::Reading | Broken::Writing) => return Ok(End::Reset),
    };
    if end == End::Reset {
        // A reset overtakes what is still on its way.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let closes = framing == Framing::UntilClosed
        || head.get("connection").is_some_and(|word| word.eq_ignore_ascii_case("close"));
    Ok(if end == End::Open && (closes || !whole) { End::Closed } else { end })
}
