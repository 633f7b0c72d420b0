//! Standard output, for results. A reader that has gone away (`penstock deliveries | head`) ends the command quietly.

use std::io::Write;

/// Prints a line on standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::out::line(&format!($($text)*)) };
}

/// Prints a line on standard output, or leaves the process if nobody reads it.
pub fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        // The shell's own word for a reader that has gone away: 128 + SIGPIPE.
        std::process::exit(141);
    }
}
