//! Long queries are read one after the other, and each client's in turn with those of others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Refused;
use crate::access::ClientKey;

/// The turns.
#[derive(Debug)]
pub(super) struct Readings {
    one: Arc<Semaphore>,
    /// Queries of one client that wait, or are read.
    most_of_one: u32,
    /// Of each client that has any: as many hold it as it has.
    of_clients: Mutex<BTreeMap<ClientKey, Weak<Semaphore>>>,
}

/// A turn, which is over when this is dropped. It goes to where the query is read: whoever waits for that may go away meanwhile.
#[derive(Debug)]
pub(super) struct Reading {
    _of_client: OwnedSemaphorePermit,
    _one: OwnedSemaphorePermit,
}

impl Readings {
    pub(super) fn new(most_of_one: u32) -> Self {
        Self { one: Arc::new(Semaphore::new(1)), most_of_one, of_clients: Mutex::default() }
    }

    /// Waits for a turn: behind the others of this client, and one of each other client.
    pub(super) async fn turn(&self, who: ClientKey) -> Result<Reading, Refused> {
        let of_client = self.of(who)?;
        // Neither is ever closed.
        let of_client = of_client.acquire_owned().await.map_err(|_| Refused::Stopping)?;
        let one = Arc::clone(&self.one).acquire_owned().await.map_err(|_| Refused::Stopping)?;
        Ok(Reading { _of_client: of_client, _one: one })
    }

    fn of(&self, who: ClientKey) -> Result<Arc<Semaphore>, Refused> {
        let mut all = self.of_clients.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, held| held.strong_count() > 0);
        let Some(held) = all.get(&who).and_then(Weak::upgrade) else {
            let new = Arc::new(Semaphore::new(1));
            let _gone = all.insert(who, Arc::downgrade(&new));
            return Ok(new);
        };
        // With this one.
        if Arc::strong_count(&held) > usize::try_from(self.most_of_one).unwrap_or(usize::MAX) {
            return Err(Refused::TooManyOfOne { most_of_one: self.most_of_one });
        }
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn client(name: &str) -> ClientKey {
        (name.to_owned(), [127, 0, 0, 1].into())
    }

    /// What has come of it by now.
    fn now<F: Future>(turn: Pin<&mut F>) -> Option<F::Output> {
        match turn.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_client_with_many_long_queries_waits_for_its_own() {
        let readings = Readings::new(3);
        let turn = |name| readings.turn(client(name));
        let reading = now(pin!(turn("many"))).unwrap().unwrap();
        let (mut second, mut third) = (pin!(turn("many")), pin!(turn("many")));
        assert!(now(second.as_mut()).is_none() && now(third.as_mut()).is_none());
        let refused = now(pin!(turn("many"))).unwrap().unwrap_err();
        assert_eq!(refused, Refused::TooManyOfOne { most_of_one: 3 });
        // One that comes later is next all the same.
        let mut other = pin!(turn("one"));
        assert!(now(other.as_mut()).is_none());
        drop(reading);
        assert!(now(second.as_mut()).is_none() && now(third.as_mut()).is_none());
        drop(now(other.as_mut()).expect("it waits behind all of another client's").unwrap());
        drop(now(second.as_mut()).unwrap().unwrap());
        drop(now(third.as_mut()).unwrap().unwrap());
        assert!(now(pin!(turn("many"))).unwrap().is_ok(), "those that were read do not count any more");
        assert!(readings.of_clients.lock().unwrap().len() <= 2);
    }
}
