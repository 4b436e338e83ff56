//! `--name value` arguments.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::Failure;

/// What a task was asked to do.
#[derive(Debug)]
pub(crate) struct Options {
    given: HashMap<String, String>,
}

impl Options {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut given = HashMap::new();
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            let name = name
                .strip_prefix("--")
                .ok_or(format!("{name}: no --name"))?;
            let value = arguments.next().ok_or(format!("--{name}: no value"))?;
            given.insert(name.to_owned(), value);
        }
        Ok(Self { given })
    }

    /// A number, or `default` when it is not given.
    pub(crate) fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T, Failure> {
        match self.given.get(name) {
            None => Ok(default),
            Some(value) => value
                .parse()
                .map_err(|_| format!("--{name} {value}: no number").into()),
        }
    }

    pub(crate) fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.given.get(name).map_or(default, String::as_str)
    }

    pub(crate) fn address(&self) -> Result<SocketAddr, Failure> {
        let port = self.number("port", 0)?;
        Ok(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The processes of the server, for their CPU time.
    pub(crate) fn pids(&self) -> Result<Vec<u32>, Failure> {
        self.text("pids", "")
            .split(',')
            .filter(|pid| !pid.is_empty())
            .map(|pid| pid.parse().map_err(|_| format!("--pids: {pid}").into()))
            .collect()
    }
}
