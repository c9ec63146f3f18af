//! A runtime client and a function in one, of the standard library alone: plays the steps that the event names.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, io, thread};

const HOLD: Duration = Duration::from_millis(500);

fn pause() -> &'static str {
    thread::sleep(HOLD);
    "through"
}

fn request(connection: &mut TcpStream, head: &str, body: &str) -> io::Result<String> {
    let length = body.len();
    let text = format!("{head} HTTP/1.1\r\nHost: api\r\nContent-Length: {length}\r\n\r\n{body}");
    connection.write_all(text.as_bytes())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !is_whole(&answer) {
        let length = connection.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..length]);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether an answer's body is there to its announced end: the service keeps the connection.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn play(step: &[String]) -> io::Result<String> {
    let argument = |index: usize| step.get(index).map_or("", String::as_str);
    let address = || format!("{}:{}", argument(1), argument(2));
    let said: String = match argument(0) {
        "exec" => {
            let output = Command::new(argument(1)).args(&step[2..]).stderr(Stdio::null()).output()?;
            match output.status.code() {
                Some(_) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
                None => "killed".into(),
            }
        }
        "spawn" => {
            Command::new(argument(1)).args(&step[2..]).stdout(Stdio::null()).spawn()?;
            thread::sleep(Duration::from_millis(50));
            "through".into()
        }
        "connect" => TcpStream::connect(address()).map(|_open| pause().into())?,
        "resolve" => (argument(1), 443).to_socket_addrs().map(|_| "through".into())?,
        "bind" => TcpListener::bind(address()).map(|_open| pause().into())?,
        "api" => {
            let mut second = TcpStream::connect(env::var("AWS_LAMBDA_RUNTIME_API").unwrap_or_default())?;
            let answer = request(&mut second, "GET /truth", "")?;
            if answer.is_empty() { "closed".into() } else { "through".into() }
        }
        "read" => fs::read(argument(1)).map(|_| "through".into())?,
        "write" => fs::write(argument(1), "x").map(|()| "through".into())?,
        "getenv" => env::var(argument(1)).map_or("absent".into(), |_| "through".into()),
        _ => "no such step".into(),
    };
    Ok(said)
}

/// The strings of `{"steps": ["…", …]}`; none of them has a quote or a backslash in it.
fn words(event: &str) -> Vec<String> {
    let list = event.split('[').nth(1).unwrap_or("");
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn main() -> io::Result<()> {
    // One connection for all requests, as the clients that people use have it.
    let mut api = TcpStream::connect(env::var("AWS_LAMBDA_RUNTIME_API").unwrap_or_default())?;
    loop {
        let event = request(&mut api, "GET /2018-06-01/runtime/invocation/next", "")?;
        let (head, body) = event.split_once("\r\n\r\n").unwrap_or_default();
        let id = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("Lambda-Runtime-Aws-Request-Id").then(|| value.trim().to_owned())
        });
        let results: Vec<String> = words(body)
            .split(|word| word == ";")
            .map(|step| play(step).unwrap_or_else(|fault| fault.to_string()))
            .map(|said| format!("\"{}\"", said.replace(['"', '\\', '\n'], " ")))
            .collect();
        let answer = format!("{{\"results\": [{}]}}", results.join(", "));
        let path = format!("POST /2018-06-01/runtime/invocation/{}/response", id.unwrap_or_default());
        request(&mut api, &path, &answer)?;
    }
}
