//! The floor without a runtime: the three requests of an invocation on a plain socket. What the harness itself costs.

use std::{
    env,
    io::{BufRead, BufReader, Error, Read, Result, Write},
    net::TcpStream,
};

fn main() -> Result<()> {
    let api = env::var("AWS_LAMBDA_RUNTIME_API").map_err(Error::other)?;
    let mut stream = TcpStream::connect(&api)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut ask = |method: &str, path: &str, body: &str| -> Result<String> {
        let length = body.len();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: {api}\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes())?;
        request_id(&mut answers)
    };
    loop {
        let id = ask("GET", "/2018-06-01/runtime/invocation/next", "")?;
        ask("POST", &format!("/2018-06-01/runtime/invocation/{id}/response"), r#"{"statusCode":200}"#)?;
    }
}

/// Reads one answer; gives the id of the invocation in it, if there is one.
fn request_id(answers: &mut impl BufRead) -> Result<String> {
    let (mut length, mut id, mut line) = (0, String::new(), String::new());
    loop {
        line.clear();
        if answers.read_line(&mut line)? == 0 {
            return Err(Error::other("the Runtime API went away"));
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(Error::other)?,
            "lambda-runtime-aws-request-id" => value.clone_into(&mut id),
            _ => {}
        }
    }
    let mut status = String::new();
    answers.take(length).read_to_string(&mut status)?;
    Ok(id)
}
