//! Runs ffmpeg over one work item.

fn main() -> std::process::ExitCode {
    ffmpeg_worker::main()
}
