//! What ffmpeg tells with `-progress`: blocks of `key=value` lines.

use std::time::Duration;

/// The last state told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// Frames of the first output so far.
    pub(crate) frames: u64,
    /// Seconds of the video so far.
    pub(crate) seconds: Option<f64>,
}

impl Told {
    /// Takes one line; true at the end of a block.
    pub(crate) fn take(&mut self, line: &str) -> bool {
        let Some((key, value)) = line.trim().split_once('=') else { return false };
        match key {
            "frame" => self.frames = value.trim().parse().unwrap_or(self.frames),
            "out_time_us" => self.seconds = value.parse::<f64>().ok().map(|us| us / 1e6).or(self.seconds),
            _ => {}
        }
        key == "progress"
    }

    /// How much of the whole this is, 0 to 1, by frames where their number is known, else by time.
    pub(crate) fn fraction(&self, frames: Option<u64>, seconds: Option<f64>) -> Option<f64> {
        let part = match (frames, self.seconds, seconds) {
            (Some(frames), _, _) if frames > 0 => self.frames as f64 / frames as f64,
            (_, Some(now), Some(all)) if all > 0.0 => now / all,
            _ => return None,
        };
        Some(part.clamp(0.0, 1.0))
    }

    /// The same for people, `elapsed` after the begin.
    pub(crate) fn in_words(&self, frames: Option<u64>, fraction: Option<f64>, elapsed: Duration) -> String {
        let mut words = match frames {
            Some(all) => format!("frame {} of {all}", self.frames),
            None => format!("frame {}", self.frames),
        };
        // The first instants say nothing of the rest.
        if let Some(done @ 0.01..) = fraction {
            let left = elapsed.as_secs_f64() * (1.0 - done) / done;
            words.push_str(&format!(", about {} left", humantime::format_duration(Duration::from_secs(left as u64))));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Told {
        let mut told = Told::default();
        for line in text.lines() {
            told.take(line);
        }
        told
    }

    #[test]
    fn the_last_block_counts() {
        let text = "frame=1\nout_time_us=N/A\nprogress=continue\nframe=  250\nout_time_us=7200000000\nprogress=end\n";
        assert_eq!(told(text), Told { frames: 250, seconds: Some(7200.0) });
        assert!(Told::default().take("progress=end"));
        assert!(!Told::default().take("frame=1"));
    }

    #[test]
    fn what_is_not_progress_is_left_alone() {
        assert_eq!(told("frame=-\n\nnonsense\nout_time_us=\n"), Told::default());
    }

    #[test]
    fn people_are_told_how_long_it_takes() {
        let told = Told { frames: 250, seconds: None };
        let minute = Duration::from_secs(60);
        assert_eq!(told.in_words(Some(1000), Some(0.25), minute), "frame 250 of 1000, about 3m left");
        assert_eq!(told.in_words(None, None, minute), "frame 250");
        assert_eq!(told.in_words(None, Some(0.001), minute), "frame 250");
    }

    #[test]
    fn frames_tell_more_than_time() {
        let told = Told { frames: 50, seconds: Some(9.0) };
        assert_eq!(told.fraction(Some(100), Some(10.0)), Some(0.5));
        assert_eq!(told.fraction(None, Some(10.0)), Some(0.9));
        assert_eq!(told.fraction(Some(0), Some(0.0)), None);
        assert_eq!(told.fraction(Some(40), None), Some(1.0), "a header may lie");
        assert_eq!(told.fraction(None, None), None);
    }
}
