//! CPU time and memory of the server and of the generator itself.

use std::fs;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::Failure;

/// `sysconf(_SC_CLK_TCK)` is 100 on every Linux.
const TICKS: f64 = 100.0;
const PAGE: f64 = 4096.0;

/// User and system time of a process with all its threads, in seconds.
fn cpu(process: &str) -> Result<f64, Failure> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit_once(')').ok_or("no stat of a process")?.1;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks =
        || -> Result<f64, Failure> { Ok(fields.next().ok_or("a short stat")?.parse::<f64>()?) };
    Ok((ticks()? + ticks()?) / TICKS)
}

fn resident_mib(process: u32) -> Result<f64, Failure> {
    let statm = fs::read_to_string(format!("/proc/{process}/statm"))?;
    let pages: f64 = statm.split(' ').nth(1).ok_or("a short statm")?.parse()?;
    Ok(pages * PAGE / f64::from(1 << 20))
}

/// Measures from its making on.
#[derive(Debug)]
pub(crate) struct Meter {
    pids: Vec<u32>,
    began: Instant,
    server: f64,
    own: f64,
}

impl Meter {
    pub(crate) fn start(pids: Vec<u32>) -> Result<Self, Failure> {
        let mut this = Self {
            pids,
            began: Instant::now(),
            server: 0.0,
            own: 0.0,
        };
        this.server = this.server_cpu()?;
        this.own = cpu("self")?;
        Ok(this)
    }

    fn server_cpu(&self) -> Result<f64, Failure> {
        self.pids.iter().map(|pid| cpu(&pid.to_string())).sum()
    }

    /// What was used since: `operations` is what the server's CPU time is divided by.
    pub(crate) fn stop(
        &self,
        operations: u64,
        told: &mut Map<String, Value>,
    ) -> Result<(), Failure> {
        let seconds = self.began.elapsed().as_secs_f64();
        let server = self.server_cpu()? - self.server;
        let resident: Result<Vec<f64>, Failure> =
            self.pids.iter().map(|pid| resident_mib(*pid)).collect();
        told.insert("seconds".into(), json!(seconds));
        told.insert("server_cpu_s".into(), json!(server));
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of operations are far below 2^53"
        )]
        told.insert(
            "cpu_us".into(),
            json!(server * 1e6 / (operations.max(1) as f64)),
        );
        told.insert("rss_mib".into(), json!(resident?.iter().sum::<f64>()));
        told.insert(
            "generator_cpu".into(),
            json!((cpu("self")? - self.own) / seconds),
        );
        Ok(())
    }
}
