//! One stream's path as the protocol describes it, one call at a time.

use std::collections::BTreeMap;

/// What a caller asks. All streams are plain text; every append is one letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    Create {
        closed: bool,
    },
    /// Producer: its number, epoch, sequence number.
    Append {
        letter: Option<char>,
        producer: Option<(u64, u64, u64)>,
        close: bool,
    },
    Delete,
    Read,
    /// With a reader that found the stream of this life in an earlier call.
    ReadOn {
        life: u64,
    },
    Head,
}

/// What the caller is told. `life` is the incarnation in the offsets told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Created {
        life: u64,
        new: bool,
        tail: u64,
        closed: bool,
    },
    ExistsOtherwise,
    Appended {
        duplicate: bool,
        life: u64,
        next: u64,
        closed: bool,
    },
    Closed {
        life: u64,
        tail: u64,
    },
    Fenced(u64),
    EpochStart,
    Gap(u64),
    Deleted,
    Read {
        life: u64,
        content: String,
        closed: bool,
    },
    Head {
        life: u64,
        tail: u64,
        closed: bool,
    },
    NotFound,
}

/// A stream at the path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Stream {
    life: u64,
    content: String,
    closed: bool,
    producers: BTreeMap<u64, (u64, u64)>,
    closed_by: Option<(u64, u64, u64)>,
}

impl Stream {
    fn tail(&self) -> u64 {
        self.content.len() as u64
    }

    fn read(&self) -> Answer {
        Answer::Read {
            life: self.life,
            content: self.content.clone(),
            closed: self.closed,
        }
    }
}

/// What is at the path, and the largest life there ever was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Model {
    stream: Option<Stream>,
    last_life: u64,
}

impl Model {
    /// The state after a call, when this can have been its answer.
    pub(crate) fn after(&self, ask: &Ask, answer: &Answer) -> Option<Self> {
        let mut next = self.clone();
        let told = match ask {
            Ask::Create { closed } => next.create(*closed, answer),
            Ask::Append {
                letter,
                producer,
                close,
            } => next.append(*letter, *producer, *close),
            Ask::Delete => match next.stream.take() {
                Some(_) => Answer::Deleted,
                None => Answer::NotFound,
            },
            Ask::Read => match &next.stream {
                Some(stream) => stream.read(),
                None => Answer::NotFound,
            },
            Ask::ReadOn { life } => match &next.stream {
                Some(stream) if stream.life == *life => stream.read(),
                _ => Answer::NotFound,
            },
            Ask::Head => match &next.stream {
                Some(stream) => Answer::Head {
                    life: stream.life,
                    tail: stream.tail(),
                    closed: stream.closed,
                },
                None => Answer::NotFound,
            },
        };
        (told == *answer).then_some(next)
    }

    /// A new stream's life is the engine's to choose, above all before it.
    fn create(&mut self, closed: bool, answer: &Answer) -> Answer {
        match &self.stream {
            Some(stream) if stream.closed != closed => return Answer::ExistsOtherwise,
            Some(stream) => {
                return Answer::Created {
                    life: stream.life,
                    new: false,
                    tail: stream.tail(),
                    closed,
                };
            }
            None => {}
        }
        let life = match answer {
            Answer::Created { life, .. } if *life > self.last_life => *life,
            _ => return Answer::NotFound,
        };
        self.last_life = life;
        self.stream = Some(Stream {
            life,
            content: String::new(),
            closed,
            producers: BTreeMap::new(),
            closed_by: None,
        });
        Answer::Created {
            life,
            new: true,
            tail: 0,
            closed,
        }
    }

    fn append(
        &mut self,
        letter: Option<char>,
        producer: Option<(u64, u64, u64)>,
        close: bool,
    ) -> Answer {
        let Some(stream) = &mut self.stream else {
            return Answer::NotFound;
        };
        let known = producer.and_then(|(id, ..)| stream.producers.get(&id).copied());
        if let (Some((_, epoch, _)), Some((current, _))) = (producer, known)
            && epoch < current
        {
            return Answer::Fenced(current);
        }
        let duplicate = Answer::Appended {
            duplicate: true,
            life: stream.life,
            next: stream.tail(),
            closed: stream.closed,
        };
        if stream.closed {
            let again = match producer {
                Some(_) => stream.closed_by == producer,
                None => close && letter.is_none(),
            };
            let (life, tail) = (stream.life, stream.tail());
            return if again {
                duplicate
            } else {
                Answer::Closed { life, tail }
            };
        }
        if let Some((id, epoch, seq)) = producer {
            match known {
                None if seq > 0 => return Answer::Gap(0),
                Some((current, _)) if epoch > current && seq > 0 => return Answer::EpochStart,
                Some((current, last)) if epoch == current && seq <= last => return duplicate,
                Some((current, last)) if epoch == current && seq > last + 1 => {
                    return Answer::Gap(last + 1);
                }
                _ => {}
            }
            stream.producers.insert(id, (epoch, seq));
            stream.closed_by = close.then_some((id, epoch, seq));
        }
        stream.content.extend(letter);
        stream.closed = close;
        Answer::Appended {
            duplicate: false,
            life: stream.life,
            next: stream.tail(),
            closed: close,
        }
    }
}
