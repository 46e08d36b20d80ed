//! An answer in flows, as it comes.

use steno_proto::v1::{FlowsResponse, flows_response::Part};
use steno_query::Flow;

use super::{SensorError, SoFar, call::Incoming, convert, packets::Ending};

/// An answer in flows, a batch at a time.
pub(crate) struct FlowBatches<'s> {
    answer: Box<dyn Incoming<FlowsResponse> + 's>,
    flows: u64,
    ending: Option<Ending>,
}

/// What comes next.
pub(crate) enum NextFlows {
    /// Flows, or none yet.
    Flows(Vec<Flow>),
    /// The sensor is at work and has nothing to give.
    Progress,
    /// The end, with the receipt.
    End(Box<Ending>),
}

impl<'s> FlowBatches<'s> {
    pub(super) fn new(answer: Box<dyn Incoming<FlowsResponse> + 's>) -> Self {
        Self { answer, flows: 0, ending: None }
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// The answer broke off or was interrupted, or holds what cannot be understood.
    pub(crate) fn next(&mut self) -> Result<NextFlows, SensorError> {
        let message = match self.answer.next() {
            Ok(message) => message,
            Err(SensorError::Interrupted(_)) => return Err(SensorError::Interrupted(SoFar::Flows(self.flows))),
            Err(error) => return Err(self.cut(crate::command::chain(&error))),
        };
        let Some(message) = message else {
            return match self.ending.take() {
                Some(ending) => Ok(NextFlows::End(Box::new(ending))),
                None => Err(self.cut("the sensor ended it without a word".to_owned())),
            };
        };
        match message.part {
            Some(Part::Flows(batch)) => {
                let flows = batch.flows.into_iter().map(convert::flow).collect::<Result<Vec<_>, _>>()?;
                self.flows += flows.len() as u64;
                Ok(NextFlows::Flows(flows))
            }
            Some(Part::Progress(_)) => Ok(NextFlows::Progress),
            Some(Part::Receipt(receipt)) => {
                let said = self.answer.last_word()?;
                self.ending = Some(Ending { receipt: convert::receipt(receipt), said });
                Ok(NextFlows::Flows(Vec::new()))
            }
            None => Ok(NextFlows::Flows(Vec::new())),
        }
    }

    fn cut(&self, why: String) -> SensorError {
        SensorError::Cut { so_far: SoFar::Flows(self.flows), why }
    }
}
