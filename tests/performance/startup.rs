//! Measures how long an extension takes from exec to POST /register and to its first GET /event/next, for two
//! extensions in turn, against a Runtime API of its own on loopback.
//!
//! `measure-startup RUNS EXTENSION-A EXTENSION-B [--cold]` prints, per figure, both medians and the median of the
//! ratios A/B taken pair by pair. `--cold` drops each binary from the page cache before each run.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

const REGISTERED: &str =
    "{\"functionName\":\"hello\",\"functionVersion\":\"$LATEST\",\"handler\":\"app.handler\"}";
const DEADLINE: Duration = Duration::from_secs(10);

/// What one start cost.
#[derive(Debug, Clone, Copy)]
struct Start {
    to_register_us: f64,
    to_next_us: f64,
    cpu_us: f64,
    resident_kib: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, runs, first, second, rest @ ..] = arguments.as_slice() else {
        return Err("usage: measure-startup RUNS EXTENSION-A EXTENSION-B [--cold]".into());
    };
    let cold = rest.iter().any(|argument| argument == "--cold");
    let mut pairs = Vec::new();
    for run in 0..=runs.parse::<usize>()? {
        let pair = (measure(first, cold)?, measure(second, cold)?);
        if run > 0 {
            pairs.push(pair); // the first pair warms up
        }
    }
    let cache = if cold { "cold page cache" } else { "warm" };
    print_row(&pairs, &format!("exec to /register, us, {cache}"), |start| start.to_register_us);
    print_row(&pairs, &format!("exec to first /next, us, {cache}"), |start| start.to_next_us);
    print_row(&pairs, "CPU to first /next, us", |start| start.cpu_us);
    print_row(&pairs, "resident at first /next, KiB", |start| start.resident_kib);
    Ok(())
}

fn print_row(pairs: &[(Start, Start)], name: &str, figure: impl Fn(&Start) -> f64) {
    let first = median(pairs.iter().map(|pair| figure(&pair.0)).collect());
    let second = median(pairs.iter().map(|pair| figure(&pair.1)).collect());
    let ratio = median(pairs.iter().map(|pair| figure(&pair.0) / figure(&pair.1)).collect());
    println!("{name:44} {first:10.0} {second:10.0} {ratio:7.2}x");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn measure(extension: &str, cold: bool) -> Result<Start, Box<dyn Error>> {
    if cold {
        evict(extension)?;
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut command = Command::new(extension);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.env("AWS_LAMBDA_RUNTIME_API", listener.local_addr()?.to_string());
    command.env("AWS_LAMBDA_FUNCTION_NAME", "hello").env("AWS_REGION", "eu-west-1");
    let begun = Instant::now();
    let mut child = command.spawn()?;
    let served = serve(&listener, begun, &child);
    child.kill()?;
    child.wait()?;
    served
}

/// Serves every connection on a thread of its own (an extension may hold several) and waits for the first /next.
fn serve(listener: &TcpListener, begun: Instant, child: &Child) -> Result<Start, Box<dyn Error>> {
    let (sender, calls) = channel();
    let acceptor = listener.try_clone()?;
    std::thread::spawn(move || {
        while let Ok((stream, _)) = acceptor.accept() {
            let sender = sender.clone();
            std::thread::spawn(move || converse(stream, begun, &sender));
        }
    });
    let mut to_register_us = f64::NAN;
    loop {
        match calls.recv_timeout(DEADLINE)? {
            (Call::Register, at) => to_register_us = at,
            (Call::Next, to_next_us) => {
                let (cpu_us, resident_kib) = usage(child.id())?;
                return Ok(Start { to_register_us, to_next_us, cpu_us, resident_kib });
            }
        }
    }
}

/// A call that is timed.
#[derive(Debug, Clone, Copy)]
enum Call {
    Register,
    Next,
}

fn converse(stream: TcpStream, begun: Instant, calls: &Sender<(Call, f64)>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    while let Some(head) = read_request(&mut reader).ok()? {
        let elapsed = begun.elapsed().as_secs_f64() * 1e6;
        if head.contains("/register") {
            calls.send((Call::Register, elapsed)).ok()?;
            answer(reader.get_mut(), "200 OK", "Lambda-Extension-Identifier: 7e0c\r\n", REGISTERED).ok()?;
        } else if head.contains("/event/next") {
            calls.send((Call::Next, elapsed)).ok()?;
        } else {
            answer(reader.get_mut(), "202 Accepted", "", "").ok()?;
        }
    }
    Some(())
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Result<Option<String>, Box<dyn Error>> {
    let mut head = String::new();
    let mut length = 0;
    loop {
        let start = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
        let line = head.get(start..).unwrap_or_default().trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.is_empty() {
            break;
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    Ok(Some(head))
}

fn answer(stream: &mut TcpStream, status: &str, headers: &str, body: &str) -> std::io::Result<()> {
    // Head and body in one write: two would cost a delayed acknowledgement of 40 ms.
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes())
}

/// CPU time in microseconds (clock ticks of `/proc/PID/schedstat`, nanoseconds) and resident KiB.
fn usage(pid: u32) -> Result<(f64, f64), Box<dyn Error>> {
    let schedule = std::fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let nanoseconds: f64 = schedule.split(' ').next().unwrap_or_default().parse()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let resident: f64 = resident.trim().trim_end_matches(" kB").parse()?;
    Ok((nanoseconds / 1e3, resident))
}

/// Drops a file from the page cache through dd(1), which asks for `POSIX_FADV_DONTNEED` and needs no privilege.
fn evict(path: &str) -> Result<(), Box<dyn Error>> {
    let input = format!("if={path}");
    let status =
        Command::new("dd").args([&input, "iflag=nocache", "count=0"]).stderr(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err("dd could not evict the file".into()) }
}
