//! The services over a loopback port, against a store that the tests made.

mod ends;
mod follow;
mod legacy;
mod load;
mod round_trip;
mod support;

use steno_proto::v1::{QueryRequest, QueryResponse, Receipt, query_response::Part};
use tonic::{Status, Streaming};

use support::within;

/// An answer as a client sees it.
#[derive(Debug, Default)]
struct Taken {
    chunks: Vec<usize>,
    bytes: Vec<u8>,
    receipt: Option<Receipt>,
    /// Messages after the receipt, of which there are to be none.
    after: usize,
    status: Option<Status>,
}

impl Taken {
    fn receipt(&self) -> &Receipt {
        self.receipt.as_ref().unwrap()
    }

    /// The status code; OK where there was no error.
    fn code(&self) -> tonic::Code {
        self.status.as_ref().map_or(tonic::Code::Ok, Status::code)
    }

    /// That the receipt came last and tells of just the bytes that came.
    fn check(&self) {
        assert_eq!(self.after, 0, "the receipt is the last message");
        let receipt = self.receipt();
        assert_eq!(receipt.bytes, self.bytes.len() as u64);
        assert_eq!(receipt.blake3, blake3::hash(&self.bytes).to_hex().to_string());
    }
}

/// Takes what is left of an answer.
async fn take(stream: &mut Streaming<QueryResponse>) -> Taken {
    let mut taken = Taken::default();
    loop {
        match within("the next message", stream.message()).await {
            Ok(Some(QueryResponse { part })) => {
                taken.after += usize::from(taken.receipt.is_some());
                match part.unwrap() {
                    Part::Chunk(chunk) => {
                        taken.chunks.push(chunk.len());
                        taken.bytes.extend_from_slice(&chunk);
                    }
                    Part::Progress(_) => {}
                    Part::Receipt(receipt) => taken.receipt = Some(receipt),
                }
            }
            Ok(None) => return taken,
            Err(status) => {
                taken.status = Some(status);
                return taken;
            }
        }
    }
}

fn request(query: &str) -> QueryRequest {
    QueryRequest { query: query.to_owned(), ..QueryRequest::default() }
}
