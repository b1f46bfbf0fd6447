//! Questions as the arguments of scripts, and what scripts answer as answers.

use std::time::Duration;

use crate::fleet::names::{StoreNames, Tag};
use crate::fleet::protocol::{
    Beat, Fail, FailAnswer, LARGEST, Lead, Lease, Put, PutAnswer, Reach, Stored, Take, Taken,
};
use crate::store::{Reply, StoreError};
use crate::token::Why;

pub(super) type Arguments = Vec<Vec<u8>>;

/// No replica is called longer.
const LONGEST_NAME: usize = 80;

pub(super) fn take(take: &Take) -> Arguments {
    let budget = take.budget;
    vec![
        text(&take.owner),
        time(take.lease),
        time(take.lease_max),
        text(take.held.as_ref().map_or("", |mark| mark.as_str())),
        text(why(take.why)),
        number(take.known),
        take.age.map_or_else(Vec::new, time),
        number(budget.map_or(0, |budget| budget.requests).into()),
        time(budget.map_or(Duration::ZERO, |budget| budget.per)),
        flag(take.has_taken),
    ]
}

pub(super) fn put(put: &Put, names: &StoreNames, tag: &Tag) -> Arguments {
    vec![
        number(put.fence),
        put.sealed.clone(),
        text(put.mark.as_str()),
        time(put.usable),
        flag(put.after_unauthorized),
        text(&names.channel()),
        time(put.keep),
        text(tag.as_str()),
    ]
}

pub(super) fn fail(fail: &Fail, names: &StoreNames, tag: &Tag) -> Arguments {
    let failure = fail.failure.as_ref();
    vec![
        text(&fail.owner),
        number(fail.fence),
        failure.map_or_else(Vec::new, |failure| failure.sealed.clone()),
        time(failure.map_or(Duration::ZERO, |failure| failure.delay)),
        text(failure.map_or("0", |failure| reach(failure.reach))),
        text(&names.channel()),
        text(tag.as_str()),
    ]
}

pub(super) fn keep(lease: &Lease) -> Arguments {
    vec![text(&lease.owner), number(lease.fence), time(lease.length)]
}

pub(super) fn accepted(generation: u64) -> Arguments {
    vec![number(generation)]
}

pub(super) fn beat(instance: &str, gone_after: Duration) -> Arguments {
    vec![text(instance), time(gone_after)]
}

pub(super) fn taken(reply: Reply) -> Result<Taken, StoreError> {
    let mut said = Said::list(reply)?;
    let answer = match said.bytes()?.as_slice() {
        b"value" => Taken::Value(said.stored()?),
        b"hold" => Taken::Hold(said.time()?),
        b"failed" => {
            let (fence, sealed) = (said.generation()?, said.bytes()?);
            Taken::Failed { sealed, fence, left: said.time()? }
        }
        b"wait" => Taken::Wait { left: said.time()?, since: said.time()? },
        b"spent" => Taken::Spent(said.time()?),
        b"lead" => {
            let (fence, failures) = (said.generation()?, said.count()?);
            let took_over_from = Some(name(&said.bytes()?)).filter(|from| !from.is_empty());
            Taken::Lead(Lead { fence, failures, took_over_from, used: said.count()? })
        }
        _ => return Err(StoreError::Unexpected),
    };
    Ok(answer)
}

pub(super) fn put_answer(reply: Reply) -> Result<PutAnswer, StoreError> {
    let mut said = Said::list(reply)?;
    match said.bytes()?.as_slice() {
        b"put" => Ok(PutAnswer::Put),
        b"older" => said.stored().map(PutAnswer::Older),
        _ => Err(StoreError::Unexpected),
    }
}

pub(super) fn fail_answer(reply: Reply) -> Result<FailAnswer, StoreError> {
    match Said::list(reply)?.bytes()?.as_slice() {
        b"lost" => Ok(FailAnswer::Lost),
        b"released" => Ok(FailAnswer::Released),
        b"noted" => Ok(FailAnswer::Noted),
        b"shared" => Ok(FailAnswer::Shared),
        _ => Err(StoreError::Unexpected),
    }
}

pub(super) fn yes_or_no(reply: &Reply) -> Result<bool, StoreError> {
    match reply {
        Reply::Integer(0) => Ok(false),
        Reply::Integer(1) => Ok(true),
        _ => Err(StoreError::Unexpected),
    }
}

pub(super) fn beaten(reply: Reply) -> Result<Beat, StoreError> {
    let mut said = Said::list(reply)?;
    Ok(Beat { now: said.time()?, replicas: said.count()? })
}

pub(super) fn read(reply: Reply) -> Result<Option<Stored>, StoreError> {
    match reply {
        Reply::Nil => Ok(None),
        reply => Said::list(reply)?.stored().map(Some),
    }
}

/// A list that is taken apart from its front. One who can write into the store can make a script answer any number.
struct Said(std::vec::IntoIter<Reply>);

impl Said {
    fn list(reply: Reply) -> Result<Self, StoreError> {
        match reply {
            Reply::Array(said) => Ok(Self(said.into_iter())),
            _ => Err(StoreError::Unexpected),
        }
    }

    fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        match self.0.next() {
            Some(Reply::Bytes(bytes)) => Ok(bytes),
            _ => Err(StoreError::Unexpected),
        }
    }

    fn number(&mut self) -> Result<u64, StoreError> {
        match self.0.next() {
            Some(Reply::Integer(number)) => u64::try_from(number).map_err(|_negative| StoreError::Unexpected),
            _ => Err(StoreError::Unexpected),
        }
    }

    /// A larger one would be another number in the next script.
    fn generation(&mut self) -> Result<u64, StoreError> {
        self.number().and_then(|number| if number <= LARGEST { Ok(number) } else { Err(StoreError::Unexpected) })
    }

    fn count(&mut self) -> Result<u32, StoreError> {
        self.number().map(|number| u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn time(&mut self) -> Result<Duration, StoreError> {
        self.number().map(Duration::from_millis)
    }

    fn stored(&mut self) -> Result<Stored, StoreError> {
        Ok(Stored {
            generation: self.generation()?,
            sealed: self.bytes()?,
            age: self.time()?,
            left: self.time()?,
            renewals: self.count()?,
        })
    }
}

const fn reach(reach: Reach) -> &'static str {
    match reach {
        Reach::Confirmed => "0",
        Reach::All => "1",
        Reach::EachForItself => "2",
    }
}

/// What can be a replica's name, since it is said to people: anything may stand in the store.
fn name(bytes: &[u8]) -> String {
    let is_of_names = |byte: &u8| byte.is_ascii_alphanumeric() || b"-~._".contains(byte);
    bytes.iter().copied().filter(is_of_names).take(LONGEST_NAME).map(char::from).collect()
}

const fn why(why: Why) -> &'static str {
    match why {
        Why::Look | Why::Rejoin | Why::Ahead => "ahead",
        Why::Cold => "cold",
        Why::Refused => "refused",
        Why::Forced => "forced",
        Why::Apart => "apart",
    }
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn number(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn time(time: Duration) -> Vec<u8> {
    time.as_millis().to_string().into_bytes()
}

fn flag(flag: bool) -> Vec<u8> {
    vec![if flag { b'1' } else { b'0' }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(fence: i64, from: &[u8]) -> Reply {
        let from = Reply::Bytes(from.to_vec());
        Reply::Array(vec![
            Reply::Bytes(b"lead".to_vec()),
            Reply::Integer(fence),
            Reply::Integer(0),
            from,
            Reply::Integer(0),
        ])
    }

    #[test]
    fn a_number_is_taken_up_to_the_largest() {
        let largest = i64::try_from(LARGEST).unwrap();
        assert!(matches!(taken(lead(largest, b"")), Ok(Taken::Lead(Lead { fence: LARGEST, .. }))));
        assert_eq!(taken(lead(largest + 1, b"")), Err(StoreError::Unexpected));
        let value = |generation| {
            let (word, sealed) = (Reply::Bytes(b"older".to_vec()), Reply::Bytes(Vec::new()));
            let [age, left, renewals] = [0, 0, 0].map(Reply::Integer);
            Reply::Array(vec![word, Reply::Integer(generation), sealed, age, left, renewals])
        };
        assert!(put_answer(value(largest)).is_ok() && put_answer(value(largest + 1)).is_err());
    }

    #[test]
    fn who_led_before_is_told_in_the_letters_of_a_name() {
        let from = |bytes: &[u8]| match taken(lead(1, bytes)) {
            Ok(Taken::Lead(lead)) => lead.took_over_from,
            other => panic!("{other:?}"),
        };
        assert_eq!(from(b"orders-7f6d.x_2~3").as_deref(), Some("orders-7f6d.x_2~3"));
        assert_eq!(from(b"a\r\nb \x1b[31m\xff<c>").as_deref(), Some("ab31mc"));
        assert_eq!(from(&[b'a'; 5000]).map(|name| name.len()), Some(LONGEST_NAME));
        assert_eq!([from(b""), from(b"\n\xff")], [None, None]);
    }

    #[test]
    fn an_answer_that_is_none_is_an_error_and_no_panic() {
        let word = |word: &str| Reply::Bytes(word.as_bytes().to_vec());
        for reply in [
            Reply::Nil,
            Reply::Integer(1),
            Reply::Array(Vec::new()),
            Reply::Array(vec![word("surprise")]),
            Reply::Array(vec![word("value"), Reply::Integer(-1), word("v"), Reply::Integer(0), Reply::Integer(0)]),
            Reply::Array(vec![word("value"), Reply::Integer(1), Reply::Nil, Reply::Integer(0), Reply::Integer(0)]),
            Reply::Array(vec![word("wait"), Reply::Integer(i64::MIN), Reply::Integer(0)]),
            Reply::Array(vec![word("lead"), Reply::Integer(1)]),
            lead(1 << 53, b""),
            lead(i64::MIN, b""),
        ] {
            assert_eq!(taken(reply.clone()), Err(StoreError::Unexpected), "{reply:?}");
            assert!(
                put_answer(reply.clone()).is_err() && fail_answer(reply.clone()).is_err() && beaten(reply).is_err()
            );
        }
        assert_eq!(read(Reply::Nil), Ok(None));
        assert!(yes_or_no(&Reply::Integer(2)).is_err() && read(Reply::Integer(1)).is_err());
    }
}
