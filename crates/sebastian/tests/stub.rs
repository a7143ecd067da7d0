//! A stand-in for whatever else may answer at an address.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
};

/// Answers every request with the same head and body, and closes. Ends with the test process.
pub fn answering(status: &str, headers: &str, body: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut bytes = [0; 1_024];
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut bytes) {
                    Ok(length @ 1..) => head.extend_from_slice(&bytes[..length]),
                    _ => break,
                }
            }
            // Whoever asked may have gone.
            let _gone = stream.write_all(answer.as_bytes());
        }
    });
    address
}
