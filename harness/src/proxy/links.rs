//! What is wrong with each directed link, and how running connections learn of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::fault::NodeNumber;

/// The state of one directed link. The default is a sound one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Link {
    /// Whether nothing gets through. Connections stay open and wait.
    pub cut: bool,
    /// Whether new connections are refused as long as it is cut; otherwise they hang.
    pub refuses: bool,
    /// How long every byte is under way besides.
    pub delay: Duration,
    /// How many bytes get through in a second; `None` for as many as come.
    pub bytes_per_s: Option<u64>,
    /// Grows when the connections over it are lost: those from before are closed.
    pub losses: u64,
}

/// A directed link: who sends, who receives.
pub type Ends = (NodeNumber, NodeNumber);

type Table = Arc<BTreeMap<Ends, Link>>;

/// The state of all links. Those that were never changed are sound.
#[derive(Debug)]
pub struct Links {
    table: watch::Sender<Table>,
}

/// A view of one link, by one connection.
#[derive(Clone, Debug)]
pub(super) struct LinkView {
    ends: Ends,
    table: watch::Receiver<Table>,
}

impl Default for Links {
    fn default() -> Self {
        Self { table: watch::Sender::new(Table::default()) }
    }
}

impl Links {
    /// Changes one link; its connections go by it at once. Says whether it is another now.
    pub fn change(&self, ends: Ends, change: impl FnOnce(&mut Link)) -> bool {
        self.table.send_if_modified(|table| {
            let before = table.get(&ends).copied().unwrap_or_default();
            let mut after = before;
            change(&mut after);
            if after != before {
                Arc::make_mut(table).insert(ends, after);
            }
            after != before
        })
    }

    /// Makes every link sound. Connections that were lost stay lost.
    pub fn heal(&self) {
        self.table.send_modify(|table| {
            for link in Arc::make_mut(table).values_mut() {
                *link = Link { losses: link.losses, ..Link::default() };
            }
        });
    }

    /// The present state of a link.
    pub fn link(&self, ends: Ends) -> Link {
        self.table.borrow().get(&ends).copied().unwrap_or_default()
    }

    pub(super) fn view(&self, ends: Ends) -> LinkView {
        LinkView { ends, table: self.table.subscribe() }
    }
}

impl LinkView {
    pub(super) fn now(&self) -> Link {
        self.table.borrow().get(&self.ends).copied().unwrap_or_default()
    }

    /// Waits until the link's state is such. Never, if the table is gone: then everything ends.
    pub(super) async fn until(&mut self, such: impl Fn(&Link) -> bool) -> Link {
        let ends = self.ends;
        let link = |table: &Table| table.get(&ends).copied().unwrap_or_default();
        let reached = self.table.wait_for(|table| such(&link(table))).await;
        let reached = reached.map(|table| link(&table));
        match reached {
            Ok(link) => link,
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Link, Links};
    use crate::fault::NodeNumber;

    #[test]
    fn healing_mends_everything_but_lost_connections() {
        let links = Links::default();
        let (there, back) = ((NodeNumber(0), NodeNumber(1)), (NodeNumber(1), NodeNumber(0)));
        links.change(there, |link| {
            link.cut = true;
            link.bytes_per_s = Some(10);
            link.losses += 1;
        });
        assert!(links.link(there).cut);
        assert_eq!(links.link(back), Link::default(), "the other direction is sound");
        links.heal();
        assert_eq!(links.link(there), Link { losses: 1, ..Link::default() });
    }
}
