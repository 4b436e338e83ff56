//! The connections of a loop, by number.

use crate::h1::connection::Connection;

/// Connections by slot. A number is reused under another generation.
#[derive(Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    generation: u32,
    connection: Option<Box<Connection>>,
}

/// Slot and generation in one number, for epoll and the blocking threads.
pub(crate) fn token(slot: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(slot)
}

/// The slot of a token.
pub(crate) fn slot_of(token: u64) -> u32 {
    (token & u64::from(u32::MAX)) as u32
}

/// No connection is there.
const NOWHERE: u32 = u32::MAX;
/// Names the wakes of the log.
pub(crate) const LOG: u64 = u64::MAX;

/// Names the wake of a crowd. The largest number is [`LOG`]'s.
pub(crate) fn crowd_token(number: u32) -> u64 {
    token(NOWHERE, number)
}

/// The number of the crowd whose wake has this name.
pub(crate) fn crowd_of(name: u64) -> Option<u32> {
    (slot_of(name) == NOWHERE && name != LOG).then_some((name >> 32) as u32)
}

impl Slots {
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, connection: Connection) -> (u32, u64) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                connection: None,
            });
            (self.slots.len() - 1) as u32
        });
        let mut generation = 0;
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.generation = place.generation.wrapping_add(1) & (u32::MAX >> 1);
            place.connection = Some(Box::new(connection));
            generation = place.generation;
        }
        (slot, token(slot, generation))
    }

    pub(crate) fn get(&mut self, slot: u32) -> Option<&mut Connection> {
        self.slots.get_mut(slot as usize)?.connection.as_deref_mut()
    }

    /// The connection that a token was made for, if it is still there.
    pub(crate) fn by_token(&mut self, name: u64) -> Option<&mut Connection> {
        let slot = slot_of(name);
        let place = self.slots.get_mut(slot as usize)?;
        if token(slot, place.generation) != name {
            return None;
        }
        place.connection.as_deref_mut()
    }

    pub(crate) fn name(&self, slot: u32) -> u64 {
        let generation = self.slots.get(slot as usize).map_or(0, |s| s.generation);
        token(slot, generation)
    }

    /// Takes a connection out; its socket closes when it is dropped.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Box<Connection>> {
        let connection = self.slots.get_mut(slot as usize)?.connection.take()?;
        self.free.push(slot);
        Some(connection)
    }

    /// Numbers of all connections.
    pub(crate) fn all(&self) -> Vec<u32> {
        self.slots
            .iter()
            .zip(0..)
            .filter(|(slot, _)| slot.connection.is_some())
            .map(|(_, number)| number)
            .collect()
    }
}
