use super::{Failure, lines};

/// Reads the reply of `show servers state BACKEND`: how many of its servers
/// are up; nothing if there is no such backend.
///
/// # Errors
///
/// When it is something else.
pub fn servers_up(body: &[u8]) -> Result<Option<usize>, Failure> {
    if body.starts_with(b"Can't find backend") {
        return Ok(None);
    }
    let mut lines = lines(body).skip_while(|line| !line.starts_with(HEAD));
    let head = lines.next().ok_or(Failure::Unexpected)?;
    let state = words(&head[b"# ".len()..])
        .position(|column| column == b"srv_op_state")
        .ok_or(Failure::Unexpected)?;
    let is_up = |line: &&[u8]| words(line).nth(state) == Some(RUNNING);
    Ok(Some(lines.filter(is_up).count()))
}

/// The columns are named after a line with the version of the format.
const HEAD: &[u8] = b"# be_id ";

/// `SRV_ST_RUNNING` (management.txt, `show servers state`).
const RUNNING: &[u8] = b"2";

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&b| b == b' ')
}
