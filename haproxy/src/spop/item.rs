//! Lists: of items, that is names with values (SPOE.txt 3.2 KV-LIST), and of anything else.

use std::iter;

use super::error::{Malformed, Parsed};
use super::{Value, varint};

/// Reads one item: a name and a value.
#[inline]
pub(super) fn decode(input: &[u8]) -> Parsed<'_, (&[u8], Value<'_>)> {
    let (rest, name) = varint::decode_string(input)?;
    let (rest, value) = Value::decode(rest)?;
    Ok((rest, (name, value)))
}

/// Appends one item.
pub(super) fn encode(name: impl AsRef<[u8]>, value: Value<'_>, output: &mut Vec<u8>) {
    varint::encode_string(name.as_ref(), output);
    value.encode(output);
}

/// Parses a list that fills the rest of the frame, one element at each step; it ends after the first error.
pub(super) fn list<'a, T>(
    mut rest: &'a [u8],
    parse: impl Fn(&'a [u8]) -> Parsed<'a, T>,
) -> impl Iterator<Item = Result<T, Malformed>> {
    iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let parsed = parse(rest);
        rest = parsed.as_ref().map_or(&[], |(after, _)| after);
        Some(parsed.map(|(_, element)| element).map_err(Malformed::from))
    })
}

/// Puts the value of an item that may come once.
pub(super) fn fill<T>(
    slot: &mut Option<T>,
    name: &'static str,
    value: Option<T>,
) -> Result<(), Malformed> {
    let value = value.ok_or(Malformed::ItemType(name))?;
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed::ItemTwice(name)),
    }
}

/// The value of an item that must be a string.
pub(super) fn string(value: Value<'_>) -> Option<&[u8]> {
    match value {
        Value::String(bytes) => Some(bytes),
        _ => None,
    }
}

/// The value of an item that must be an unsigned integer of 32 bits.
pub(super) fn uint32(value: Value<'_>) -> Option<u32> {
    match value {
        Value::UInt32(integer) => Some(integer),
        _ => None,
    }
}

/// The value of an item that must be a boolean.
pub(super) fn boolean(value: Value<'_>) -> Option<bool> {
    match value {
        Value::Bool(boolean) => Some(boolean),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_ends_after_its_first_error() {
        let mut items = list(b"\x01a\x00\x01b\x0a\x01c\x00", decode);
        assert_eq!(items.next(), Some(Ok((&b"a"[..], Value::Null))));
        assert_eq!(items.next(), Some(Err(Malformed::ReservedType(10))));
        assert_eq!(items.next(), None);
    }

    #[test]
    fn an_item_fills_its_slot_once() {
        let mut slot = None;
        assert_eq!(
            fill(&mut slot, "n", uint32(Value::Null)),
            Err(Malformed::ItemType("n"))
        );
        assert_eq!(fill(&mut slot, "n", uint32(Value::UInt32(1))), Ok(()));
        assert_eq!(
            fill(&mut slot, "n", uint32(Value::UInt32(2))),
            Err(Malformed::ItemTwice("n"))
        );
    }
}
