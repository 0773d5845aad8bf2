//! NOTIFY: HAProxy's messages (SPOE.txt 3.2.6).

use super::Value;

/// One message of a NOTIFY.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    name: &'a [u8],
}

/// One argument of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument<'a> {
    /// Its name; empty for an argument that the configuration did not name.
    pub name: &'a [u8],
    /// Its value.
    pub value: Value<'a>,
}

impl<'a> Message<'a> {
    /// The name in `spoe-message NAME`.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// The arguments, in the order of the configuration.
    pub fn arguments(&self) -> impl Iterator<Item = Argument<'a>> + use<'a> {
        std::iter::empty()
    }

    /// The value of the first argument called `name`.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<Value<'a>> {
        self.arguments()
            .find(|argument| argument.name == name.as_bytes())
            .map(|argument| argument.value)
    }
}
