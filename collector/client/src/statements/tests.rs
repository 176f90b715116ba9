use super::*;
use rules::observation::Outcome;
use std::sync::Mutex;

fn applied(generation: u64) -> Applied {
    Applied { point: "e1".to_owned(), generation, outcome: Outcome::DryRun, elements: 0, reason: String::new(), status: Default::default() }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

#[test]
fn an_epoch_is_later_than_the_last_whatever_the_clock_says() {
    let dir = tempfile::tempdir().unwrap();
    let epochs = [5000, 9000, 100, 100].map(|ms| Statements::begin(dir.path(), at(ms)).unwrap().epoch);
    assert_eq!(epochs, [5000, 9000, 9001, 9002]);
}

#[tokio::test]
async fn a_report_is_said_until_it_is_acknowledged_and_keeps_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let (reports, said) = mpsc::channel(4);
    reports.send(applied(1)).await.unwrap();
    let got = Mutex::new(Vec::new());
    let reports = Mutex::new(Some(reports));
    let numbers = Statements::begin(dir.path(), at(1)).unwrap();
    let send = async |batch: Batch| {
        let record = &batch.records[0];
        let Said::Applied(applied) = &record.said else { panic!("{record:?}") };
        let mut got = got.lock().unwrap();
        got.push((batch.epoch == 1, record.seq, applied.generation));
        let ack = Ack { epoch: batch.epoch, seq: record.seq };
        match got.len() {
            1 => {
                // Something newer waits; what may have arrived is said first.
                reports.lock().unwrap().as_ref().unwrap().try_send(self::applied(2)).unwrap();
                Err(Untaken::Later("lost on the way".to_owned()))
            }
            2 => Err(Untaken::Later("busy".to_owned())),
            3 => Ok(ack),
            4 => Err(Untaken::Over(Some(u64::from(u32::MAX)))),
            _ => {
                reports.lock().unwrap().take();
                Ok(ack)
            }
        }
    };
    carry("e1".to_owned(), numbers, said, send).await;
    let got = got.into_inner().unwrap();
    assert_eq!(got, [(true, 1, 1), (true, 1, 1), (true, 1, 1), (true, 2, 2), (false, 1, 2)]);
}

#[tokio::test]
async fn an_acknowledgement_of_an_older_report_settles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (reports, said) = mpsc::channel(4);
    reports.send(applied(1)).await.unwrap();
    let reports = Mutex::new(Some(reports));
    let got = Mutex::new(Vec::new());
    let send = async |batch: Batch| {
        let mut got = got.lock().unwrap();
        got.push((batch.epoch, batch.records[0].seq));
        let seq = if got.len() == 1 { 0 } else { 9 };
        if got.len() == 2 {
            reports.lock().unwrap().take();
        }
        Ok(Ack { epoch: batch.epoch, seq })
    };
    carry("e1".to_owned(), Statements::begin(dir.path(), at(1)).unwrap(), said, send).await;
    let got = got.into_inner().unwrap();
    assert_eq!(got.len(), 2, "sent again, and settled by an acknowledgement of it or of a later one");
    assert_eq!((got[0], got[1].1), ((1, 1), 1));
    assert!(got[1].0 > 1, "under an epoch of its own: the collector counts otherwise");
}

#[test]
fn an_epoch_that_cannot_be_kept_is_named_with_its_file() {
    let why = Statements::begin(Path::new("/nonexistent"), at(1)).unwrap_err();
    assert!(why.to_string().contains("/nonexistent/reports.epoch") && why.fix().contains("--data"), "{why}");
}
