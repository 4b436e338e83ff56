//! Version 1: content types first, and every payload of every stream. Only read.

use super::{Builder, EXTRA, Fields, take_extra, take_forks, take_index, take_lifetime};
use crate::event::{take_origin, take_path};
use crate::varint::{Input, Malformed};

/// Reads what follows the version.
pub(super) fn take(input: &mut Input<'_>, builder: &mut Builder) -> Result<(), Malformed> {
    builder.state.next_id = input.number()?;
    for _ in 0..input.number()? {
        builder.add_type(input.text()?);
    }
    let count = input.number()?;
    builder.reserve(count, input.len());
    for _ in 0..count {
        take_stream(input, builder)?;
    }
    Ok(())
}

fn take_stream(input: &mut Input<'_>, builder: &mut Builder) -> Result<(), Malformed> {
    let flags = input.byte()?;
    let id = input.number()?;
    let root = input.number()?;
    let path = take_path(input)?;
    let content_type = builder.content_type(input.number()?)?;
    let created_at = input.number()?;
    let floor = input.number()?;
    let start = input.number()?;
    let forks = take_forks(input)?;
    let index = take_index(input, start)?;
    let lifetime = take_lifetime(input, flags)?;
    let extra = match flags & EXTRA {
        0 => None,
        _ => {
            let fork = take_origin(input)?;
            Some(Box::new(take_extra(input, fork)?))
        }
    };
    builder.add(Fields {
        flags,
        id,
        root: (root != id).then_some(root),
        path,
        content_type,
        created_at,
        floor,
        // Its payloads began where they were needed.
        kept: if forks > 0 { start } else { floor },
        forks,
        lifetime,
        extra,
        index,
    })
}
