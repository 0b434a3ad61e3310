//! Makes several images, or several commands, look like one worker.

fn main() -> std::process::ExitCode {
    multi_worker::main()
}
