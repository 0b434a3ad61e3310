//! Runs a user's script over one work item.

fn main() -> std::process::ExitCode {
    script_worker::main()
}
