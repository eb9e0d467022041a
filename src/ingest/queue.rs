//! From the thread that reads to the one that takes: a queue that holds so many bytes and no more.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    /// The other side is gone.
    is_closed: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    limit: usize,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }
}

/// Puts items in.
pub(super) struct Sender<T>(Arc<Shared<T>>);

/// Takes them out.
pub(super) struct Receiver<T>(Arc<Shared<T>>);

/// A queue of at most so many bytes; one item may be larger.
pub(super) fn bounded<T>(limit: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            items: VecDeque::new(),
            bytes: 0,
            is_closed: false,
        }),
        changed: Condvar::new(),
        limit,
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Waits until there is room. `Break` if nobody takes any more.
    pub fn send(&self, item: T, bytes: usize) -> ControlFlow<()> {
        let mut state = self.0.lock();
        while !state.is_closed && state.bytes > 0 && state.bytes + bytes > self.0.limit {
            let waited = self.0.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_closed {
            return ControlFlow::Break(());
        }
        state.items.push_back((item, bytes));
        state.bytes += bytes;
        self.0.changed.notify_all();
        ControlFlow::Continue(())
    }
}

impl<T> Receiver<T> {
    /// Waits for the next item; `None` when all are taken and no more come.
    pub fn receive(&self) -> Option<T> {
        let mut state = self.0.lock();
        loop {
            if let Some((item, bytes)) = state.items.pop_front() {
                state.bytes -= bytes;
                self.0.changed.notify_all();
                return Some(item);
            }
            if state.is_closed {
                return None;
            }
            let waited = self.0.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_in_order_and_the_queue_is_bounded() {
        let (sender, receiver) = bounded(10);
        let thread =
            std::thread::spawn(move || (0..1_000).all(|n| sender.send(n, 4).is_continue()));
        for n in 0..1_000 {
            assert!(receiver.0.lock().bytes <= 10);
            assert_eq!(receiver.receive(), Some(n));
        }
        assert_eq!(receiver.receive(), None);
        assert!(thread.join().expect("no panic"));
    }

    #[test]
    fn an_item_larger_than_the_queue_passes_alone() {
        let (sender, receiver) = bounded(10);
        assert!(sender.send("large", 100).is_continue());
        assert_eq!(receiver.receive(), Some("large"));
    }

    #[test]
    fn nobody_waits_for_a_side_that_is_gone() {
        let (sender, receiver) = bounded(1);
        assert!(sender.send(1, 1).is_continue());
        let thread = std::thread::spawn(move || sender.send(2, 1).is_break());
        drop(receiver);
        assert!(thread.join().expect("no panic"));
    }
}
