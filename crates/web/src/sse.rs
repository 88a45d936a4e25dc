//! Server-Sent Events as existing clients parse them (`api/endpoints.md` §6.2): `event:` first, one
//! `data:` line, one space after each colon, a whole event in one write.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::stream;
use model::event::Origin;
use model::{AccountId, Event, EventData, EventId};
use node::{EventStream, STRUCTURED, StreamBound, StreamFilter, StreamItem, cbor_to_json};
use store::Missed;
use tokio::time::{Instant, Sleep};

use crate::caller::Actor;
use crate::error::ApiError;
use crate::scope::{Scope, payer};
use crate::state::{State, utc_now};

/// Silence after which a line is sent: clients give up after 15 s.
const KEEP_ALIVE: Duration = Duration::from_secs(9);
/// How long the right to a stream is taken for granted: to ask costs a few reads of the store by key.
const RIGHT_HOLDS: Duration = KEEP_ALIVE;
/// Events whose text is kept, on each thread, for the next stream that shows them.
const TEXTS_MAX: usize = 64;
/// A longer text is not kept: only webhooks make such events, with what others answer.
const TEXT_BYTES_KEPT_MAX: usize = 128 << 10;
/// Content formats that are text (`messages.md` §2.3).
const TEXT_FORMATS: [u16; 4] = [0, 40, 41, 50];

/// By what right a stream is open, and what it shows.
pub(crate) struct Right {
    pub(crate) state: State,
    pub(crate) actor: Actor,
    pub(crate) filter: StreamFilter,
}

impl Right {
    /// Whether who opened the stream could open it now. A store that cannot tell ends no stream: it is
    /// asked again.
    async fn holds(&self) -> bool {
        match self.account().await {
            Ok(account) => account == self.filter.account,
            Err(why) => !why.status.is_client_error(),
        }
    }

    /// Asks what the request was asked, of the things that it named then: whose events it shows.
    async fn account(&self) -> Result<AccountId, ApiError> {
        let Self { state, actor, filter } = self;
        actor.check_token(state).await?;
        let product = filter.product.map(|product| product.to_string());
        let scope = Scope::named(state, actor, product.as_deref()).await?;
        let Some(device) = filter.device else { return Ok(scope.account) };
        payer(state, scope, &scope.device_named(state, actor, &device.to_string()).await?).await
    }
}

/// Opens a stream. `resume` is present if the client asked for ids, with the last one it saw.
pub(crate) async fn open(
    right: Right,
    resume: Option<Option<EventId>>,
) -> Result<Response, ApiError> {
    let shown = Shown { ids: resume.is_some(), product: right.filter.product.is_some() };
    let mut writer = Writer::new(right, shown);
    if let Some(Some(after)) = resume {
        writer.replayed = after;
        writer.catch_up().await?;
    }
    let mut response = Response::new(Body::from_stream(stream::unfold(writer, Writer::step)));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// What a stream tells of each event beside what all streams do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Shown {
    /// Its id, for clients that asked for ids.
    ids: bool,
    /// The fields of product streams.
    product: bool,
}

/// One open stream.
struct Writer {
    /// Absent while the journal has more to replay.
    live: Option<EventStream>,
    shown: Shown,
    /// Events up to this id were replayed.
    replayed: EventId,
    /// Sent before anything else.
    head: Vec<u8>,
    /// Set anew when it rings and not with each event: a busy stream never touches it.
    alarm: Pin<Box<Sleep>>,
    /// When something was given to the connection.
    written_at: Instant,
    right: Right,
    /// When the right was known to hold.
    asked_at: Instant,
}

impl Writer {
    fn new(right: Right, shown: Shown) -> Self {
        let now = Instant::now();
        Self {
            live: Some(joined(&right)),
            shown,
            replayed: EventId(0),
            head: b":ok\n\n".to_vec(),
            alarm: Box::pin(tokio::time::sleep(KEEP_ALIVE)),
            written_at: now,
            right,
            asked_at: now,
        }
    }

    async fn step(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if self.head.is_empty() && self.live.is_none() {
            // A piece that is not the last one has an event. Without one the client comes back with the
            // last id that it saw.
            self.catch_up().await.ok()?;
        }
        let text = match std::mem::take(&mut self.head) {
            head if head.is_empty() => self.next().await?,
            head => head.into(),
        };
        self.written_at = Instant::now();
        self.is_allowed().await.then_some((Ok(text), self))
    }

    /// Puts the next piece of what the client missed into the head: pieces are read as the client takes
    /// them, so that a slow one takes no more memory than others.
    async fn catch_up(&mut self) -> Result<(), ApiError> {
        let Right { state, filter, .. } = &self.right;
        let (account, wanted) = (filter.account, filter.clone());
        let wanted = move |event: &Event| wanted.matches(event);
        // Joined before the journal is read, so that nothing falls between the two.
        let live = joined(&self.right);
        let replay = state.store.replay(account, self.replayed, utc_now(), wanted).await?;
        write_missed(&mut self.head, replay.missed);
        for event in &replay.events {
            write_event(&mut self.head, event, self.shown);
        }
        // What comes before the next piece is read will be in the journal.
        self.live = replay.is_whole.then_some(live);
        self.replayed = replay.upto;
        Ok(())
    }

    /// Whether what is to be written may still be: rights end while a stream is open. A stream writes
    /// at least every [`KEEP_ALIVE`].
    async fn is_allowed(&mut self) -> bool {
        if self.written_at < self.asked_at + RIGHT_HOLDS {
            return true;
        }
        self.asked_at = self.written_at;
        self.right.holds().await
    }

    /// What is to be written next; none: the stream is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let item = tokio::select! {
                biased;
                item = self.live.as_mut()?.next() => item,
                () = self.alarm.as_mut() => {
                    let (due, now) = (self.written_at + KEEP_ALIVE, Instant::now());
                    let is_silent = due <= now;
                    self.alarm.as_mut().reset(if is_silent { now + KEEP_ALIVE } else { due });
                    if is_silent {
                        return Some(Bytes::from_static(b"\n"));
                    }
                    continue;
                }
            };
            let text = match item {
                StreamItem::Events(events) => self.text_of_all(&events),
                StreamItem::Missed(count) => format!(":missed {count} events\n\n").into(),
                StreamItem::Closed => return None,
            };
            if !text.is_empty() {
                return Some(text);
            }
        }
    }

    fn text_of_all(&self, events: &[Arc<Event>]) -> Bytes {
        if let [event] = events
            && event.id > self.replayed
        {
            return text_of_event(event, self.shown);
        }
        let mut out = Vec::with_capacity(events.len() * 256);
        for event in events.iter().filter(|event| event.id > self.replayed) {
            out.extend_from_slice(&text_of_event(event, self.shown));
        }
        out.into()
    }
}

fn joined(right: &Right) -> EventStream {
    right.state.handle.streams().subscribe(right.filter.clone(), StreamBound::default())
}

fn write_missed(out: &mut Vec<u8>, missed: Missed) {
    // Writing to a Vec cannot fail.
    let _ = match missed {
        Missed::Nothing => return,
        Missed::Events(count) => write!(out, ":missed {count} events\n\n"),
        Missed::Unknown => write!(out, ":missed events older than the replay window\n\n"),
    };
}

thread_local! {
    /// The texts of the last events: one that many streams show is written once by each thread that
    /// serves some of them, and no thread waits for another.
    static TEXTS: RefCell<VecDeque<(Arc<Event>, Shown, Bytes)>> = const { RefCell::new(VecDeque::new()) };
}

fn text_of_event(event: &Arc<Event>, shown: Shown) -> Bytes {
    TEXTS.with_borrow_mut(|texts| {
        let known =
            texts.iter().rev().find(|(other, how, _)| Arc::ptr_eq(other, event) && *how == shown);
        if let Some((_, _, text)) = known {
            return text.clone();
        }
        let mut out = Vec::with_capacity(256);
        write_event(&mut out, event, shown);
        let text = Bytes::from(out);
        if text.len() > TEXT_BYTES_KEPT_MAX {
            return text;
        }
        if texts.len() >= TEXTS_MAX {
            texts.pop_front();
        }
        texts.push_back((Arc::clone(event), shown, text.clone()));
        text
    })
}

fn write_event(out: &mut Vec<u8>, event: &Event, shown: Shown) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.name.as_str().as_bytes());
    out.extend_from_slice(b"\ndata: {\"data\":");
    match &event.data {
        None => out.extend_from_slice(b"null"),
        Some(data) => write_json_text(out, &text_of(data)),
    }
    // Writing to a Vec cannot fail.
    let _ = write!(out, ",\"ttl\":{},\"published_at\":\"{}\",", event.ttl_s, event.published_at);
    let _ = match event.origin {
        Origin::Api => write!(out, "\"coreid\":\"api\""),
        Origin::Device(id) => write!(out, "\"coreid\":\"{id}\""),
        Origin::Internal => write!(out, "\"coreid\":\"particle-internal\""),
    };
    if let Some(product) = event.product.filter(|_| shown.product) {
        let _ = write!(out, ",\"userid\":\"\",\"public\":false,\"productID\":{product}");
    }
    out.extend_from_slice(b"}\n");
    if shown.ids {
        let _ = writeln!(out, "id: {}", event.id);
    }
    out.push(b'\n');
}

fn write_json_text(out: &mut Vec<u8>, text: &str) {
    let _ = serde_json::to_writer(out, text);
}

/// Data as people see it: text as it is, structured data as JSON, other formats as a data URL.
pub(crate) fn text_of(data: &EventData) -> Cow<'_, str> {
    if TEXT_FORMATS.contains(&data.format) {
        return String::from_utf8_lossy(&data.bytes);
    }
    if data.format == STRUCTURED
        && let Some(json) = cbor_to_json(&data.bytes)
    {
        return Cow::Owned(json);
    }
    let kind = match data.format {
        22 => "image/jpeg",
        23 => "image/png",
        60 => "application/cbor",
        _ => "application/octet-stream",
    };
    Cow::Owned(format!("data:{kind};base64,{}", BASE64.encode(&data.bytes)))
}

#[cfg(test)]
mod tests {
    use model::{AccountId, DeviceId, EventName, Timestamp};

    use super::*;

    fn event(data: Option<EventData>) -> Event {
        Event {
            id: EventId(7),
            account: AccountId(1),
            origin: Origin::Device(DeviceId([0xab; 12])),
            product: None,
            name: EventName::parse(b"temp/out").expect("a name"),
            data,
            ttl_s: 60,
            published_at: Timestamp(1_769_862_896_789),
        }
    }

    fn written(event: &Event, ids: bool) -> String {
        written_as(event, Shown { ids, product: false })
    }

    fn written_as(event: &Event, shown: Shown) -> String {
        let mut out = Vec::new();
        write_event(&mut out, event, shown);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn an_event_is_framed_as_old_clients_parse_it() {
        let data = EventData { format: 0, bytes: (*b"a \"b\"\nc").into() };
        assert_eq!(
            written(&event(Some(data)), false),
            "event: temp/out\ndata: {\"data\":\"a \\\"b\\\"\\nc\",\"ttl\":60,\
             \"published_at\":\"2026-01-31T12:34:56.789Z\",\"coreid\":\"abababababababababababab\"}\n\n"
        );
    }

    #[test]
    fn ids_come_behind_the_data_and_only_when_asked_for() {
        assert!(written(&event(None), true).ends_with("}\nid: 7\n\n"));
        assert!(!written(&event(None), false).contains("id: "));
    }

    #[test]
    fn product_streams_tell_the_product() {
        let event = Event { product: Some(model::ProductId(7)), ..event(None) };
        assert!(written_as(&event, Shown { ids: false, product: true }).contains(
            "\"coreid\":\"abababababababababababab\",\"userid\":\"\",\"public\":false,\"productID\":7}"
        ));
        assert!(!written(&event, false).contains("productID"));
    }

    #[test]
    fn binary_data_is_shown_as_a_data_url() {
        let data = EventData { format: 42, bytes: (*b"\x00\xff").into() };
        assert!(
            written(&event(Some(data)), false)
                .contains("data:application/octet-stream;base64,AP8=")
        );
    }

    #[test]
    fn structured_data_is_shown_as_json() {
        let data = EventData { format: STRUCTURED, bytes: (*b"\xa1\x61\x61\x01").into() };
        assert!(written(&event(Some(data)), false).contains(r#""data":"{\"a\":1}""#));
    }

    #[test]
    fn text_that_is_no_utf_8_still_makes_valid_json() {
        let data = EventData { format: 0, bytes: (*b"\xff\x00").into() };
        let text = written(&event(Some(data)), false);
        let json =
            text.lines().nth(1).and_then(|line| line.strip_prefix("data: ")).expect("a data line");
        assert!(serde_json::from_str::<serde_json::Value>(json).is_ok());
    }
}
