//! The console's list of devices: how long a page of it takes.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::Outcome;

/// Words, filters and orders that are asked for, each in turn.
const QUESTIONS: [&str; 15] = [
    "",
    "sort=name",
    "sort=name&dir=desc&page=7",
    "sort=online",
    "sort=platform_id&dir=desc",
    "sort=product_id",
    "sort=firmware_version",
    "sort=system_firmware_version&dir=desc",
    "sort=last_heard&online=true",
    "sort=name&online=false",
    "q=00&sort=last_heard",
    "q=no-such-device",
    "product=10000",
    "sort=last_heard&dir=desc&page=999",
    "sort=name&online=true&q=e&per_page=200",
];

/// The times from request to answer over one connection, sorted.
pub(crate) fn pages(http: SocketAddr, token: &str, rounds: usize) -> Outcome<Vec<Duration>> {
    let stream = TcpStream::connect(http)?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let mut times = Vec::with_capacity(rounds * QUESTIONS.len());
    for question in QUESTIONS.iter().cycle().take(rounds * QUESTIONS.len()) {
        let begun = Instant::now();
        write!(
            writer,
            "GET /console/devices?{question} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n"
        )?;
        read_answer(&mut reader)?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

fn read_answer(reader: &mut impl BufRead) -> Outcome {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if !line.contains(" 200 ") {
        return Err(format!("the list is refused: {line}").into());
    }
    let mut length = 0;
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    Ok(reader.read_exact(&mut body)?)
}
