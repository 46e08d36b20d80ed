//! The door to a store: opened by its directory, asked with queries.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

use super::{Catalogue, OpenLogs, ThreadDirs, scan::threads};
use crate::{
    Expr, Primitive, Query, TimeSpan,
    exec::{Answer, Options},
    flows::{Flows, gather},
    plan::{Asked, Explanation, Of, Selection, explain},
    receipt::Receipt,
};

/// A store of packet files: a directory with `PKT<i>/` and `IDX<i>/` for each capture thread.
///
/// Clones are the same store. Every question is answered from the catalogue as it is when the question comes; what is
/// published later is seen after [`Self::refresh`].
///
/// ```no_run
/// use steno_query::{Options, Store, parse};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::open("/var/lib/stenographer")?;
/// let query = parse("host 10.0.0.1 and tcp port 443", steno_core::TimestampNs::MAX)?;
/// let mut answer = store.answer(&query, Options::default());
/// while let Some(packet) = answer.next_packet() {
///     println!("{} {} bytes", packet.time, packet.frame.len());
/// }
/// eprintln!("{}", answer.receipt());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: Place,
    catalogue: RwLock<Arc<Catalogue>>,
    logs: Option<Arc<dyn OpenLogs>>,
}

/// Where the directories of the threads are said.
#[derive(Debug)]
enum Place {
    Directory(PathBuf),
    Threads(Vec<ThreadDirs>),
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory cannot be listed.
    #[error("list the store {}", dir.display())]
    List {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The directory holds nothing of a store.
    #[error("{} is no store: it holds no directory PKT0, PKT1, ... or IDX0, IDX1, ...", dir.display())]
    NotAStore {
        /// The directory.
        dir: PathBuf,
    },
}

impl Store {
    /// Opens the store in `dir`, which holds `PKT<i>/` and `IDX<i>/`, or links to them.
    ///
    /// # Errors
    /// `dir` cannot be listed, or holds none of them. A thread whose directories cannot be listed is no error here: it is
    /// named in every receipt.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let place = Place::Directory(dir.as_ref().to_owned());
        let catalogue = Catalogue::list(&place.threads()?, None, None);
        Ok(Self(Arc::new(Inner { place, catalogue: RwLock::new(Arc::new(catalogue)), logs: None })))
    }

    /// Opens the store whose threads keep their files in `threads`.
    pub fn of_threads(threads: Vec<ThreadDirs>) -> Self {
        Self::of_capture(threads, None)
    }

    /// The same where captures write into it, of which `logs` tells what their open files hold.
    pub fn of_capture(threads: Vec<ThreadDirs>, logs: Option<Arc<dyn OpenLogs>>) -> Self {
        let catalogue = Catalogue::list(&threads, None, logs.as_ref());
        Self(Arc::new(Inner { place: Place::Threads(threads), catalogue: RwLock::new(Arc::new(catalogue)), logs }))
    }

    /// Lists the directories again. Answers under way keep what they started with.
    ///
    /// # Errors
    /// As [`Self::open`]; the store then stays as it was.
    pub fn refresh(&self) -> Result<(), StoreError> {
        let threads = self.0.place.threads()?;
        let fresh = Arc::new(Catalogue::list(&threads, Some(&self.catalogue()), self.0.logs.as_ref()));
        *self.0.catalogue.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = fresh;
        Ok(())
    }

    /// Writes down what the indexes of the segments say, in a file beside them ([`CATALOGUE_FILE`](super::CATALOGUE_FILE)):
    /// whoever opens the store afterwards need not open each of them, and passes over segments without the address that is
    /// asked for. Opens the indexes of which nothing is kept yet. The store itself heeds it after [`Self::refresh`].
    ///
    /// # Errors
    /// What the system says of the first directory that cannot be written to. The others are written.
    pub fn keep_catalogue(&self) -> io::Result<()> {
        let catalogue = self.catalogue();
        let mut outcome = Ok(());
        for listing in catalogue.listings() {
            let written = listing.keep();
            outcome = outcome.and(written);
        }
        outcome
    }

    /// The threads and where their files are.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn threads(&self) -> Result<Vec<ThreadDirs>, StoreError> {
        self.0.place.threads()
    }

    /// What the store held when it was last listed.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.0.catalogue.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// Begins the answer to `query`: its packets, in order of time.
    pub fn answer(&self, query: &Query, options: Options) -> Answer {
        Answer::new(&self.catalogue(), query, options)
    }

    /// The same, and then, each time it is told to ([`Answer::go_on`]), what was added since.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = steno_query::Store::open("/var/lib/stenographer")?;
    /// # let query = steno_query::parse("tcp", steno_core::TimestampNs::MAX)?;
    /// let mut answer = store.follow(&query, steno_query::Options::default());
    /// while !answer.has_ended() {
    ///     while let Some(packet) = answer.next_packet() {
    ///         println!("{} {} bytes", packet.time, packet.frame.len());
    ///     }
    ///     std::thread::sleep(std::time::Duration::from_millis(100));
    ///     store.refresh()?;
    ///     answer.go_on(&store);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow(&self, query: &Query, options: Options) -> Answer {
        Answer::following(&self.catalogue(), query, options)
    }

    /// The conversations that match `query`, from the index alone but for segments that a scope divides in time. Of `options`,
    /// formats and limits have no meaning here.
    pub fn flows(&self, query: &Query, options: &Options) -> Flows {
        gather(&self.catalogue(), query, options)
    }

    /// What is held, what was lost, and what cannot be read, of a time: a receipt that nothing was looked up for. No index is
    /// opened that was open before.
    pub fn survey(&self, span: TimeSpan) -> Receipt {
        let asked = Asked::new(&Query { expr: Expr::Is(Primitive::Time(span)) }, &Options::default());
        Selection::of(&self.catalogue(), &asked, Of::Packets, None, &|| None).receipt
    }

    /// How `query` is understood and would be answered. Reads no packet file, unless what it says would else tell of packets out
    /// of the scope: of a segment that this divides in time, and of one with an index of version 2.
    pub fn explain(&self, query: &Query, options: &Options) -> Explanation {
        explain(&self.catalogue(), query, options)
    }
}

impl Place {
    fn threads(&self) -> Result<Vec<ThreadDirs>, StoreError> {
        let dir = match self {
            Self::Threads(threads) => return Ok(threads.clone()),
            Self::Directory(dir) => dir,
        };
        let found = threads(dir).map_err(|source| StoreError::List { dir: dir.clone(), source })?;
        if found.is_empty() {
            return Err(StoreError::NotAStore { dir: dir.clone() });
        }
        Ok(found)
    }
}
