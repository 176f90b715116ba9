use std::process::ExitCode;

fn main() -> ExitCode {
    gnomon::cli::main()
}
