//! What bodies add up to whose questions are not in the capture. One may be an example out of a document that somebody fetched; who is
//! given answers by several ids, or has something accepted without an answer in between, asks.

use crate::dissect::jsonrpc::Id;

/// Questions of `initialize`, `tools/list` and `tools/call`, or what takes their place.
const SEVERAL: usize = 3;

/// Between one server and one client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Series {
    ids: [Option<Id>; SEVERAL],
    accepted: bool,
    /// The client is given pages as well.
    reads: bool,
}

impl Series {
    /// An answer of MCP's shape to the question `id`.
    pub(super) fn answered(&mut self, id: Id) {
        if !self.ids.contains(&Some(id))
            && let Some(free) = self.ids.iter_mut().find(|known| known.is_none())
        {
            *free = Some(id);
        }
    }

    /// 202 and nothing in it.
    pub(super) fn accepted(&mut self) {
        self.accepted = true;
    }

    /// A page, a picture, a text: what a site has.
    pub(super) fn read(&mut self) {
        self.reads = true;
    }

    pub(super) fn is_conversation(&self) -> bool {
        let known = self.ids.iter().flatten().count();
        !self.reads && (known == SEVERAL || (known > 0 && self.accepted))
    }
}
