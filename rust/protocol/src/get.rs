//! GET: catching up, one page (protocol section 5.6), and what all reads answer with.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use durastream_engine::storage::{Chunk, Piece};
use durastream_engine::{Expiry, From as Start, Page, StreamPath, wire};

use crate::etag;
use crate::head::Headers;
use crate::paging::{Paging, Subject};
use crate::problem::Problem;
use crate::query::Query;
use crate::refusal::{self, offset_value};
use crate::response::{Answer, Manner};
use crate::{Response, Step};

/// A checked read request.
#[derive(Debug)]
pub(crate) struct Read {
    /// The stream.
    pub(crate) path: StreamPath,
    /// Where and how.
    pub(crate) query: Query,
    /// `If-None-Match`, lists joined.
    pub(crate) if_none_match: Option<String>,
    /// The listener can send parts of files.
    pub(crate) files: bool,
}

impl Read {
    /// Checks the head.
    pub(crate) fn parse(
        path: StreamPath,
        query: &[u8],
        headers: Headers<'_>,
    ) -> Result<Self, Problem> {
        let query = Query::parse(query)?;
        let tags: Vec<_> = headers
            .all("if-none-match")
            .map(String::from_utf8_lossy)
            .collect();
        Ok(Self {
            path,
            query,
            if_none_match: (!tags.is_empty()).then(|| tags.join(",")),
            files: false,
        })
    }
}

/// A catch-up read under way.
pub(crate) struct CatchUp<T: Chunk = Bytes> {
    paging: Paging<T>,
    subject: Subject,
    reply: Reply,
}

impl<T: Chunk> CatchUp<T> {
    /// Begins.
    pub(crate) fn new(paging: Paging<T>, subject: Subject, read: Read) -> Self {
        Self {
            paging,
            subject,
            reply: Reply::of(read),
        }
    }

    /// The page or why there is none; `None`: to be blocked first.
    fn answer(&mut self, manner: &Manner) -> Option<Result<Response<T>, Response>> {
        Some(match self.paging.poll()? {
            Ok(page) => {
                let answer = self.reply.page(&self.subject, page, manner.private);
                Ok(answer.finish(manner))
            }
            Err(error) => Err(refusal::page(error).answer().finish(manner)),
        })
    }

    /// Does the cold read.
    pub(crate) fn block(&mut self) {
        self.paging.block();
    }
}

impl CatchUp {
    /// Answers, or asks to block first.
    pub(crate) fn step(&mut self, manner: &Manner) -> Step {
        match self.answer(manner) {
            None => Step::Block,
            Some(Ok(response) | Err(response)) => Step::Respond(response),
        }
    }
}

impl CatchUp<Piece> {
    /// Answers, or asks to block first.
    pub(crate) fn step(&mut self, manner: &Manner) -> Step {
        match self.answer(manner) {
            None => Step::Block,
            Some(Ok(response)) => Step::Send(response),
            Some(Err(response)) => Step::Respond(response),
        }
    }
}

/// How pages of one request are answered.
#[derive(Debug)]
pub(crate) struct Reply {
    if_none_match: Option<String>,
    /// The URL says `now`, so the same URL means something else a moment later.
    volatile: bool,
}

impl Reply {
    /// For a request.
    pub(crate) fn of(read: Read) -> Self {
        Self {
            volatile: read.query.from == Start::Now,
            if_none_match: read.if_none_match,
        }
    }

    /// 200 with the page, or 304.
    pub(crate) fn page<T: Chunk>(
        &self,
        subject: &Subject,
        page: Page<T>,
        private: bool,
    ) -> Answer<T> {
        let etag =
            (!self.volatile).then(|| etag::of(subject.id, page.start, page.next, page.closed));
        let unchanged = matches!(
            (&etag, &self.if_none_match),
            (Some(etag), Some(tags)) if etag::names(tags, etag)
        );
        let cache = if self.volatile {
            "no-store".to_owned()
        } else {
            cache_control(private, subject.expiry, SystemTime::now())
        };
        let answer = Answer::new(if unchanged { 304 } else { 200 })
            .header("stream-next-offset", offset_value(page.next))
            .flag("stream-up-to-date", page.up_to_date)
            .flag("stream-closed", page.closed)
            .maybe("etag", etag)
            .header("cache-control", cache);
        if unchanged {
            return answer;
        }
        answer
            // A stream may hold HTML; opened in a browser it must not run as this server's own page.
            .header("content-security-policy", Bytes::from_static(b"sandbox"))
            .header(
                "content-type",
                Bytes::copy_from_slice(subject.content_type.as_bytes()),
            )
            .body(wire::frame(subject.format, page.chunks))
    }
}

/// A page never changes, but the stream may end: caches keep it no longer than the stream lives.
fn cache_control(private: bool, expiry: Option<Expiry>, now: SystemTime) -> String {
    const FRESH: u64 = 60;
    const STALE: u64 = 300;
    let lifetime = match expiry {
        None => Duration::MAX,
        Some(Expiry::Ttl(ttl)) => ttl,
        Some(Expiry::At(time)) => time.duration_since(now).unwrap_or(Duration::ZERO),
    }
    .as_secs();
    if lifetime == 0 {
        return "no-store".to_owned();
    }
    let scope = if private { "private" } else { "public" };
    let fresh = FRESH.min(lifetime);
    match STALE.min(lifetime - fresh) {
        0 => format!("{scope}, max-age={fresh}"),
        stale => format!("{scope}, max-age={fresh}, stale-while-revalidate={stale}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_keep_a_page_for_a_minute_and_revalidate_for_five() {
        let now = SystemTime::now();
        assert_eq!(
            cache_control(false, None, now),
            "public, max-age=60, stale-while-revalidate=300"
        );
        assert_eq!(
            cache_control(true, None, now),
            "private, max-age=60, stale-while-revalidate=300"
        );
    }

    #[test]
    fn caches_do_not_outlive_the_stream() {
        let now = SystemTime::now();
        let ttl = |secs| Some(Expiry::Ttl(Duration::from_secs(secs)));
        assert_eq!(
            cache_control(false, ttl(100), now),
            "public, max-age=60, stale-while-revalidate=40"
        );
        assert_eq!(cache_control(false, ttl(10), now), "public, max-age=10");
        assert_eq!(cache_control(false, ttl(0), now), "no-store");
        let at = Some(Expiry::At(now + Duration::from_secs(5)));
        assert_eq!(cache_control(false, at, now), "public, max-age=5");
        let past = Some(Expiry::At(now - Duration::from_secs(5)));
        assert_eq!(cache_control(false, past, now), "no-store");
    }
}
