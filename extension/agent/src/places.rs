//! Places for clients, and which one gives way when all are taken.
//!
//! Code of the function can come to the agent's sockets as often as it likes. Were a newcomer turned away when all places
//! are taken, their holders would keep all others out; so it is one of those that are there that goes: the one
//! that has waited longest without anything to show for it, else the oldest. Places know nothing of what clients want:
//! [`crate::telemetry`] and [`crate::resolver`] say what counts.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{AbortHandle, spawn_local, yield_now};

/// Connections that may wait to be accepted: as many as one process of Lambda's can have. Of more the kernel drops the first
/// packet, which is sent again after a second by any client.
const MAX_WAITING: u32 = 1024;

/// Listens on a free port, with room for clients that come while the agent is busy.
///
/// # Errors
/// Those of socket(2), bind(2) and listen(2).
pub(crate) fn listen(address: Ipv4Addr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((address, 0).into())?;
    socket.listen(MAX_WAITING)
}

/// So many places, the oldest client first.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    next: Cell<u64>,
    taken: RefCell<VecDeque<Taken>>,
}

#[derive(Debug)]
struct Taken {
    number: u64,
    is_kept: bool,
    task: AbortHandle,
}

/// A client's place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Rc<Places>,
    number: u64,
}

impl Places {
    /// That many places, all free.
    pub(crate) fn new(most: usize) -> Rc<Self> {
        Rc::new(Self { most, next: Cell::new(0), taken: RefCell::default() })
    }

    /// Starts the task that serves a client in a place of its own, which is kept ([`Place::keep`]) from the start or not.
    /// Where there is none, another client's task ends, wherever it waits.
    pub(crate) async fn serve<F>(self: &Rc<Self>, is_kept: bool, client: impl FnOnce(Place) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        if self.is_full() {
            // Those that are there first take what was sent to them: it may let them go, or be a reason to keep them.
            yield_now().await;
        }
        while self.is_full() {
            self.clear_one();
        }
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let task = spawn_local(client(Place { places: Rc::clone(self), number })).abort_handle();
        self.taken.borrow_mut().push_back(Taken { number, is_kept, task });
    }

    fn is_full(&self) -> bool {
        self.taken.borrow().len() >= self.most
    }

    fn clear_one(&self) {
        let mut taken = self.taken.borrow_mut();
        let at = taken.iter().position(|one| !one.is_kept).unwrap_or(0);
        let gone = taken.remove(at);
        drop(taken);
        if let Some(gone) = gone {
            gone.task.abort();
        }
    }
}

impl Place {
    /// Whether it is taken from the client only when there is no other to take one from.
    pub(crate) fn keep(&self, is_kept: bool) {
        if let Some(own) = self.places.taken.borrow_mut().iter_mut().find(|one| one.number == self.number) {
            own.is_kept = is_kept;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.borrow_mut().retain(|one| one.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;

    /// Serves clients that stay, those in `kept` with something to show; gives those that are left.
    fn left(most: usize, clients: u32, kept: &[u32]) -> Vec<u32> {
        struct Client(u32, Rc<RefCell<Vec<u32>>>);
        impl Drop for Client {
            fn drop(&mut self) {
                self.1.borrow_mut().retain(|one| *one != self.0);
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (places, present) = (Places::new(most), Rc::new(RefCell::new(Vec::new())));
            for index in 0..clients {
                let client = Client(index, Rc::clone(&present));
                let is_kept = kept.contains(&index);
                places
                    .serve(index == 1 && is_kept, |place| async move {
                        client.1.borrow_mut().push(client.0);
                        if index != 1 {
                            place.keep(is_kept);
                        }
                        std::future::pending::<()>().await;
                    })
                    .await;
            }
            yield_now().await;
            assert!(places.taken.borrow().len() <= most);
            present.take()
        })
    }

    #[test]
    fn the_oldest_gives_way_to_a_newcomer() {
        assert_eq!(left(3, 3, &[]), [0, 1, 2]);
        assert_eq!(left(3, 5, &[]), [2, 3, 4]);
    }

    #[test]
    fn whoever_has_something_to_show_goes_last() {
        assert_eq!(left(3, 9, &[0, 4]), [0, 4, 8]);
        assert_eq!(left(3, 9, &[1]), [1, 7, 8], "the second has from the start");
        assert_eq!(left(2, 3, &[0, 1]), [1, 2], "all have: the oldest");
    }

    #[test]
    fn a_place_is_free_again_when_its_client_is_done() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (places, stayed) = (Places::new(1), Rc::new(Cell::new(0)));
            for _ in 0..5 {
                let stayed = Rc::clone(&stayed);
                places
                    .serve(false, |place| async move {
                        stayed.set(stayed.get() + 1);
                        drop(place);
                    })
                    .await;
            }
            yield_now().await;
            assert_eq!((stayed.get(), places.taken.borrow().len()), (5, 0), "nobody's place was taken");
        });
    }
}
