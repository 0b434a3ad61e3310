//! Log lines as JSON.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// One object a line, in which what a span says (`trace_id`) stands beside what the line says, where queries look for it.
#[derive(Debug)]
pub(crate) struct Flat(Format<Json>);

impl Flat {
    /// As a builder of lines had it.
    pub(crate) fn of(format: Format<Json>) -> Self {
        Self(format.with_current_span(false).with_span_list(false))
    }
}

impl<S, N> FormatEvent<S, N> for Flat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let Some(open) = line.strip_suffix("}\n") else { return writer.write_str(&line) };
        writer.write_str(open)?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                // An object of its own.
                let members = fields.strip_prefix('{').and_then(|fields| fields.strip_suffix('}')).unwrap_or_default();
                if !members.is_empty() {
                    write!(writer, ",{members}")?;
                }
            }
        }
        writer.write_str("}\n")
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::{error_span, info};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_span_says_stands_in_the_line() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt().json().flatten_event(true).map_event_format(Flat::of);
        let subscriber = lines.with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            error_span!("item", trace_id = "4bf9").in_scope(|| info!(n = 1, "within"));
            info!("without");
        });
        let text = String::from_utf8(kept.0.lock().expect("not poisoned").clone()).expect("text");
        let [within, without] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(
            within.starts_with('{')
                && within.ends_with(r#","message":"within","n":1,"target":"sidecar::lines::tests","trace_id":"4bf9"}"#),
            "{text}"
        );
        assert!(without.ends_with(r#","message":"without","target":"sidecar::lines::tests"}"#), "{text}");
    }
}
