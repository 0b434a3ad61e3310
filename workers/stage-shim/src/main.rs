//! Runs the command of a stage's container when the multi-worker asks for it.

fn main() -> std::process::ExitCode {
    stage_shim::main()
}
