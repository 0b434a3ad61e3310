//! What ffmpeg tells with `-progress`: blocks of `key=value` lines.

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
    pub(crate) fn take(&mut self, line: &[u8]) -> bool {
        let Some((key, value)) = std::str::from_utf8(line).ok().and_then(|line| line.trim().split_once('=')) else {
            return false;
        };
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Told {
        let mut told = Told::default();
        for line in text.lines() {
            told.take(line.as_bytes());
        }
        told
    }

    #[test]
    fn the_last_block_counts() {
        let text = "frame=1\nout_time_us=N/A\nprogress=continue\nframe=  250\nout_time_us=7200000000\nprogress=end\n";
        assert_eq!(told(text), Told { frames: 250, seconds: Some(7200.0) });
        assert!(Told::default().take(b"progress=end"));
        assert!(!Told::default().take(b"frame=1"));
    }

    #[test]
    fn what_is_not_progress_is_left_alone() {
        assert_eq!(told("frame=-\n\nnonsense\nout_time_us=\n"), Told::default());
        assert!(!Told::default().take(b"\xff=1"));
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
