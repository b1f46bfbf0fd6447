//! A secret that a program prints, such as a password manager's: within a time, and within a bound.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

/// More than any secret needs.
const MAX_OUTPUT: u64 = 64 * 1024;

/// How often a program that has closed its output is asked whether it has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Runs a program without a shell and gives what it prints. Its standard error is not shown to anybody: programs that
/// handle secrets have been seen to repeat them there.
///
/// # Errors
/// A sentence: it cannot be started, ends with another status than 0, prints too much, or takes too long.
pub(super) fn run(argv: &[String], limit: Duration) -> Result<Zeroizing<Vec<u8>>, String> {
    let began = Instant::now();
    let Some((program, arguments)) = argv.split_first() else { return Err("no program is named".into()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // Of a group of its own, so that what it starts in turn can be ended with it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    crate::descriptors::give_back(child.id());
    let output = read_within(&mut child, limit);
    let status = output.and_then(|output| {
        wait_within(&mut child, limit.saturating_sub(began.elapsed())).map(|status| (output, status))
    });
    let Some((output, status)) = status else {
        end(&mut child);
        return Err(format!("it did not end within {}", humantime::format_duration(limit)));
    };
    if output.len() as u64 > MAX_OUTPUT {
        end(&mut child);
        return Err("it prints more than 64 KiB, which is no secret".into());
    }
    if status.success() { Ok(output) } else { Err(format!("it ended with {status}")) }
}

/// Reads in a thread of its own, because a grandchild may hold the pipe open for ever. That thread ends with the pipe.
fn read_within(child: &mut Child, limit: Duration) -> Option<Zeroizing<Vec<u8>>> {
    let pipe = child.stdout.take()?;
    let (send, receive) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut output = Zeroizing::new(Vec::new());
        // A pipe that breaks off is what the exit status tells of.
        let _read = pipe.take(MAX_OUTPUT + 1).read_to_end(&mut output);
        let _closed = send.send(output);
    });
    receive.recv_timeout(limit).ok()
}

fn wait_within(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let until = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(POLL_INTERVAL),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Ends the program and what it has started.
fn end(child: &mut Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended just now.
        let _ended = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ended = child.kill();
    let _reaped = child.wait();
}
