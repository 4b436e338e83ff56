//! What is alive, against what every reader walks over.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use durastream_storage::Live;

use super::Table;
use crate::span::{Part, walk};
use crate::state::State;

/// What the readers that there are reach of each stream's own payloads.
fn reached(state: &State) -> BTreeMap<u64, Live> {
    let mut reached: BTreeMap<u64, Vec<Range<u64>>> = BTreeMap::new();
    for stream in state.streams.values().filter(|stream| stream.is_read()) {
        let (floor, tail) = (stream.floor(), stream.tail());
        walk(state, stream, floor, tail, |part| {
            let (owner, range) = match part {
                Part::Append(span) => (span.frame.stream, span.start.max(floor)..span.end),
                Part::History(stretch) => (stretch.stream, stretch.from..stretch.to),
            };
            reached.entry(owner).or_default().push(range);
            ControlFlow::Continue(())
        });
    }
    let live = reached.into_iter();
    live.map(|(id, parts)| (id, Live::NOTHING.and(parts)))
        .collect()
}

/// What is said to be alive of a stream, as far as there is anything.
fn said(state: &State, id: u64) -> Live {
    let (point, tail) = state
        .stream(id)
        .map_or((0, 0), |stream| (stream.point(), stream.tail()));
    let clip = |part: Range<u64>| part.start.max(point)..part.end.min(tail);
    let live = state.live(id);
    let parts: Vec<_> = live.ranges().map(clip).collect();
    Live::NOTHING.and(parts)
}

/// What is said to be alive is what somebody reaches, and no more.
pub(super) fn check(state: &State) {
    let reached = reached(state);
    for id in 1..state.next_id {
        let expected = reached.get(&id).cloned().unwrap_or(Live::NOTHING);
        assert_eq!(said(state, id), expected, "stream {id}");
    }
}

/// Both states say the same.
pub(super) fn assert_same(one: &State, other: &State) {
    for id in 1..one.next_id {
        assert_eq!(one.live(id), other.live(id), "stream {id}");
    }
}

impl Table {
    /// Drops what is dead of what is sealed, by what is durable. Nobody may come back to life.
    pub(super) fn drop_dead(&mut self) {
        check(&self.state);
        for id in 1..self.state.next_id {
            let live = self.state.live(id);
            if let Some(before) = self.told.insert(id, live.clone()) {
                let revived =
                    |part: &Range<u64>| before.bytes(part.start, part.end) < part.end - part.start;
                let revived: Vec<_> = live.ranges().filter(revived).collect();
                assert!(
                    revived.is_empty(),
                    "stream {id} had {before:?}, then {live:?}"
                );
            }
        }
        let told = &self.told;
        self.sealed.retain(|(id, start), payload| {
            let end = start + payload.len() as u64;
            told.get(id).is_none_or(|live| live.bytes(*start, end) > 0)
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::replay::command;
    use super::super::script::{Command, Model, PATHS, run};
    use super::super::*;
    use super::{check, said};
    use crate::needs::Asked;

    /// More forks, trims and deletions than anybody makes.
    fn busy() -> impl Strategy<Value = Command> {
        let at = || 0..PATHS.len();
        let offset = prop::option::weighted(0.7, 0u64..30);
        prop_oneof![
            5 => command(),
            3 => (at(), at(), offset, 0u64..3).prop_map(|(at, source, offset, sub)| {
                Command::Fork(at, source, offset, sub, None, None)
            }),
            2 => (at(), 0u64..40).prop_map(|(at, before)| Command::Trim(at, before)),
            1 => at().prop_map(Command::Delete),
            2 => (0usize..4).prop_map(Command::Settle),
        ]
    }

    proptest! {
        #[test]
        fn what_is_said_to_be_alive_is_what_somebody_reaches(
            commands in prop::collection::vec(busy(), 1..150)
        ) {
            let (mut table, mut model) = (Table::new(), Model::default());
            for command in commands {
                run(&mut table, &mut model, command);
                check(&table.state);
                model.check(&table);
            }
            while !table.effects.is_empty() {
                table.settle(1);
                table.drop_dead();
                model.check(&table);
            }
        }
    }

    fn covers(all: &Live, part: &Live) -> bool {
        let mut ranges = part.ranges();
        ranges.all(|range| all.bytes(range.start, range.end) == range.end - range.start)
    }

    proptest! {
        #[test]
        fn an_answer_in_pieces_has_all_that_is_alive_at_its_end_and_nothing_that_was_not_at_its_begin(
            commands in prop::collection::vec((busy(), 0usize..4), 1..150)
        ) {
            let (mut table, mut model) = (Table::new(), Model::default());
            let mut open: BTreeMap<u64, (Asked, Live)> = BTreeMap::new();
            for (command, most) in commands {
                run(&mut table, &mut model, command);
                let state = &table.state;
                for id in 1..state.next_id {
                    open.entry(id).or_insert_with(|| (state.ask_live(id), state.live(id)));
                }
                let answered = open.extract_if(.., |_, (asked, _)| {
                    state.needs.answer(asked, &mut most.clone())
                });
                for (id, (asked, at_begin)) in answered {
                    let said = asked.live();
                    prop_assert!(covers(&said, &state.live(id)), "stream {} {:?}", id, said);
                    prop_assert!(covers(&at_begin, &said), "stream {} {:?}", id, said);
                }
            }
        }
    }

    #[test]
    fn however_many_forks_there_are_only_so_many_are_looked_at_together() {
        let mut table = Table::new();
        table.create("s", text()).unwrap();
        for fork in 0..30 {
            grow(&mut table, "s", 2);
            trim(&mut table, "s", fork * 20 + 10);
            for name in ["one", "same"] {
                table
                    .create(&format!("{name}{fork}"), fork_of("s"))
                    .unwrap();
            }
        }
        table.delete("s").unwrap();
        table.commit();
        let mut asked = table.state.ask_live(1);
        let mut pieces = 1;
        while !table.state.needs.answer(&mut asked, &mut 7) {
            pieces += 1;
        }
        assert!((60 / 7..100 / 7).contains(&pieces), "{pieces}");
        assert_eq!(asked.live(), table.state.live(1));
        assert_eq!(table.state.live(1).ranges().count(), 30);
    }

    /// The parts that are alive of the stream that was made as the nth.
    fn alive(table: &mut Table, id: u64) -> Vec<(u64, u64)> {
        table.commit();
        table.drop_dead();
        let ranges = said(&table.state, id);
        ranges.ranges().map(|part| (part.start, part.end)).collect()
    }

    fn grow(table: &mut Table, at: &str, appends: usize) {
        for _ in 0..appends {
            table.append(at, body("0123456789")).unwrap();
        }
    }

    fn trim(table: &mut Table, at: &str, position: u64) {
        let before = Offset {
            incarnation: 0,
            position,
        };
        table.trim(at, before).unwrap();
    }

    #[test]
    fn a_source_that_goes_on_trimming_keeps_what_its_fork_reads_and_no_more() {
        let mut table = Table::new();
        table.create("s", text()).unwrap();
        grow(&mut table, "s", 2);
        table.create("f", fork_at("s", 10, 5)).unwrap();
        grow(&mut table, "s", 8);
        trim(&mut table, "s", 90);
        assert_eq!(alive(&mut table, 1), [(0, 15), (90, 100)]);
        trim(&mut table, "f", 10);
        assert_eq!(alive(&mut table, 1), [(10, 15), (90, 100)]);
        grow(&mut table, "f", 1);
        trim(&mut table, "f", 15);
        assert_eq!(alive(&mut table, 1), [(90, 100)]);
        assert_eq!(alive(&mut table, 2), [(15, 25)]);
    }

    #[test]
    fn forks_that_come_and_go_leave_nothing_behind() {
        let mut table = Table::new();
        table.create("s", text()).unwrap();
        table.create("f0", fork_of("s")).unwrap();
        for round in 1..20 {
            grow(&mut table, "s", 5);
            trim(&mut table, "s", round * 50 - 10);
            table.create(&format!("f{round}"), fork_of("s")).unwrap();
            table.delete(&format!("f{}", round - 1)).unwrap();
            let (floor, tail) = (round * 50 - 10, round * 50);
            assert_eq!(alive(&mut table, 1), [(floor, tail)]);
        }
        grow(&mut table, "s", 5);
        trim(&mut table, "s", 1000);
        assert_eq!(alive(&mut table, 1), [(940, 950)]);
        table.delete("f19").unwrap();
        assert!(alive(&mut table, 1).is_empty());
    }

    #[test]
    fn a_deleted_source_keeps_what_its_forks_read() {
        let mut table = Table::new();
        table.create("s", text()).unwrap();
        grow(&mut table, "s", 10);
        table.create("f", fork_at("s", 20, 0)).unwrap();
        trim(&mut table, "s", 50);
        table.create("g", fork_at("s", 60, 3)).unwrap();
        table.delete("s").unwrap();
        assert_eq!(alive(&mut table, 1), [(0, 20), (50, 63)]);
        table.delete("f").unwrap();
        assert_eq!(alive(&mut table, 1), [(50, 63)]);
    }

    #[test]
    fn of_a_deleted_stream_in_a_chain_only_what_its_forks_read_is_needed() {
        let mut table = Table::new();
        table.create("a", text()).unwrap();
        grow(&mut table, "a", 4);
        table.create("b", fork_of("a")).unwrap();
        grow(&mut table, "b", 4);
        table.create("c", fork_at("b", 60, 0)).unwrap();
        table.create("d", fork_at("b", 20, 5)).unwrap();
        table.delete("a").unwrap();
        table.delete("b").unwrap();
        assert_eq!(alive(&mut table, 1), [(0, 40)]);
        assert_eq!(alive(&mut table, 2), [(40, 60)]);
        trim(&mut table, "c", 50);
        assert_eq!(alive(&mut table, 1), [(0, 25)]);
        assert_eq!(alive(&mut table, 2), [(50, 60)]);
        trim(&mut table, "c", 60);
        assert!(alive(&mut table, 2).is_empty());
        trim(&mut table, "d", 20);
        assert_eq!(alive(&mut table, 1), [(20, 25)]);
        table.delete("d").unwrap();
        assert!(alive(&mut table, 1).is_empty());
        assert_eq!(table.state.soft_deleted, 2, "c is a fork of them still");
    }

    #[test]
    fn a_trimmed_position_is_refused_to_forks_of_forks_and_of_deleted_streams() {
        let mut table = Table::new();
        table.create("a", text()).unwrap();
        grow(&mut table, "a", 4);
        table.create("b", fork_of("a")).unwrap();
        // Not durable yet: what is decided counts.
        trim(&mut table, "b", 20);
        let refusal = table.create("c", fork_at("b", 10, 0)).unwrap_err();
        assert!(matches!(refusal, CreateError::ForkPoint { .. }));
        table.create("c", fork_at("b", 20, 0)).unwrap();
        trim(&mut table, "a", 30);
        for (source, at) in [("c", 10), ("a", 20)] {
            let refusal = table.create("d", fork_at(source, at, 0)).unwrap_err();
            assert!(matches!(refusal, CreateError::ForkPoint { .. }), "{source}");
        }
        table.delete("b").unwrap();
        let refusal = table.create("d", fork_at("b", 30, 0)).unwrap_err();
        assert!(matches!(refusal, CreateError::SourceDeleted { .. }));
        assert_eq!(alive(&mut table, 1), [(30, 40)]);
    }

    #[test]
    fn nothing_is_dead_before_it_is_durable() {
        let mut table = Table::new();
        table.create("s", text()).unwrap();
        grow(&mut table, "s", 4);
        table.create("f", fork_at("s", 30, 0)).unwrap();
        table.commit();
        trim(&mut table, "s", 20);
        table.delete("s").unwrap();
        trim(&mut table, "f", 10);
        table.delete("f").unwrap();
        let mut seen = Vec::new();
        while let Some(effect) = table.effects.pop_front() {
            let live = said(&table.state, 1);
            seen.extend(live.ranges().map(|part| (part.start, part.end)));
            table.state.settle(&effect);
        }
        // As it was, s trimmed, s deleted, f trimmed; then nothing.
        assert_eq!(seen, [(0, 40), (0, 40), (0, 30), (10, 30)]);
    }
}
