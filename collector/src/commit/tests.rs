//! Jobs fail alone, failed commits change nothing, and what is announced was committed.

use super::{
    Announcement, Hooks, Outcome, Transaction, Writer,
    group::{Committer, Job},
};
use crate::{
    Config, Unavailable,
    clock::Clock,
    image::Image,
    journal::{self, Actor, Verb},
    losses::Loss,
    store::{self, Engine, Records, Sqlite},
};
use serde_json::json;
use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// SQLite, but some commits fail.
struct Faulty {
    sqlite: Sqlite,
    failures: Arc<Mutex<Vec<Unavailable>>>,
}

impl Engine for Faulty {
    fn records(&self) -> &dyn Records {
        &self.sqlite
    }
    fn begin(&mut self) -> Outcome<()> {
        self.sqlite.begin()
    }
    fn commit(&mut self) -> Outcome<()> {
        match self.failures.lock().unwrap().pop() {
            Some(why) => Err(why),
            None => self.sqlite.commit(),
        }
    }
    fn roll_back(&mut self) {
        self.sqlite.roll_back();
    }
    fn begin_job(&mut self) -> Outcome<()> {
        self.sqlite.begin_job()
    }
    fn keep_job(&mut self) -> Outcome<()> {
        self.sqlite.keep_job()
    }
    fn undo_job(&mut self) -> Outcome<()> {
        self.sqlite.undo_job()
    }
    fn close(&mut self) {
        self.sqlite.close();
    }
}

struct Act<F>(F);

impl<F: FnMut(&mut Transaction<'_>) -> Outcome<()> + Send> Job for Act<F> {
    fn act(&mut self, tx: &mut Transaction<'_>) -> Outcome<()> {
        (self.0)(tx)
    }
    fn answer(self: Box<Self>, _: Outcome<()>) {}
}

fn job(act: impl FnMut(&mut Transaction<'_>) -> Outcome<()> + Send + 'static) -> Box<dyn Job> {
    Box::new(Act(act))
}

/// Makes a site, journals it, touches it, and counts a loss.
fn make_site(tx: &mut Transaction<'_>, name: &str) -> Outcome<()> {
    tx.image.site(tx.records, name, tx.now)?;
    tx.touched.sites.insert(name.to_owned());
    tx.image.lose(Loss::RecordsRefused, 1);
    journal::write(tx, Actor::Admin, Verb::PolicyChanged, name, "for a test", json!({}))
}

fn broken() -> Unavailable {
    Unavailable::Failed("for a test".to_owned())
}

#[derive(Clone, Default)]
struct Seen {
    loads: Arc<AtomicUsize>,
    judged: Arc<Mutex<Vec<String>>>,
    announced: Arc<Mutex<Vec<String>>>,
    failures: Arc<Mutex<Vec<Unavailable>>>,
}

impl Seen {
    fn hooks(&self, config: &Arc<Config>) -> Hooks {
        let (config, loads, judged, announced) = (config.clone(), self.loads.clone(), self.judged.clone(), self.announced.clone());
        let subject = |a: &Announcement| match a {
            Announcement::Journal { subject, .. } => subject.clone(),
            Announcement::PacksRefused { why } => why.clone(),
        };
        Hooks {
            load: Box::new(move |read| {
                loads.fetch_add(1, Relaxed);
                Image::load(read, &config)
            }),
            judge: Some(Box::new(move |tx| {
                judged.lock().unwrap().extend(std::mem::take(&mut tx.touched.sites));
                Ok(())
            })),
            publish: Box::new(move |_, said| announced.lock().unwrap().extend(said.iter().map(subject))),
        }
    }

    fn committer(&self, data: &Path) -> Committer {
        let engine = Faulty { sqlite: store::open(&store::database(data), None).unwrap(), failures: self.failures.clone() };
        Committer::new(Box::new(engine), Clock::System, self.hooks(&Arc::new(Config::default()))).unwrap()
    }

    fn take_announced(&self) -> Vec<String> {
        std::mem::take(&mut self.announced.lock().unwrap())
    }
}

fn names(image: &Image) -> Vec<&str> {
    image.sites.keys().map(String::as_str).collect()
}

fn stored(committer: &Committer) -> Image {
    Image::load(committer.engine.records(), &Arc::new(Config::default())).unwrap()
}

#[test]
fn a_job_that_fails_between_two_good_ones_is_undone_alone_on_disk_and_in_memory() {
    let (data, seen) = (tempfile::tempdir().unwrap(), Seen::default());
    let mut committer = seen.committer(data.path());
    let mut jobs = [
        job(|tx| make_site(tx, "a")),
        job(|tx| {
            make_site(tx, "b")?;
            Err(broken())
        }),
        job(|tx| make_site(tx, "c")),
    ];
    assert_eq!(committer.commit(&mut jobs), Ok(vec![Ok(()), Err(broken()), Ok(())]));
    let stored = stored(&committer);
    for image in [&committer.image, &stored] {
        assert_eq!((names(image), image.journal.id), (vec!["a", "c"], 2));
    }
    assert_eq!(stored.journal, committer.image.journal);
    assert_eq!(committer.engine.records().verify_journal(), Ok(2));
    assert_eq!(*seen.judged.lock().unwrap(), ["a", "c"], "the judge is told of nothing that was undone");
    assert_eq!(seen.take_announced(), ["a", "c"], "and so is the log");
    assert_eq!(committer.image.lost.get(Loss::RecordsRefused), Some(3), "counts of losses stand");
    assert_eq!(seen.loads.load(Relaxed), 1, "nothing was read again");
}

#[test]
fn a_commit_that_fails_changes_nothing_but_the_losses_and_is_not_announced() {
    let (data, seen) = (tempfile::tempdir().unwrap(), Seen::default());
    let mut committer = seen.committer(data.path());
    committer.commit(&mut [job(|tx| make_site(tx, "a"))]).unwrap();
    assert_eq!(seen.take_announced(), ["a"]);
    for (why, loads) in [(Unavailable::Full, 1), (Unavailable::Locked, 1), (broken(), 2)] {
        seen.failures.lock().unwrap().push(why.clone());
        let mut jobs = [job(|tx| make_site(tx, "b")), job(|tx| make_site(tx, "c"))];
        assert_eq!(committer.commit(&mut jobs), Err(why.clone()));
        assert_eq!((names(&committer.image), names(&stored(&committer))), (vec!["a"], vec!["a"]));
        assert_eq!(seen.take_announced(), [""; 0], "{why}");
        // Only where it cannot be told whether the commit took place is the database read again.
        committer.commit(&mut []).unwrap();
        assert_eq!(seen.loads.load(Relaxed), loads, "{why}");
    }
    assert_eq!(committer.image.lost.get(Loss::RecordsRefused), Some(7));
    committer.commit(&mut [job(|tx| make_site(tx, "b"))]).unwrap();
    assert_eq!((names(&stored(&committer)), seen.take_announced()), (vec!["a", "b"], vec!["b".to_owned()]));
    assert_eq!(committer.engine.records().verify_journal(), Ok(2));
}

#[test]
fn where_every_job_failed_nobody_is_woken() {
    let (data, seen) = (tempfile::tempdir().unwrap(), Seen::default());
    let mut committer = seen.committer(data.path());
    let woken = Arc::new(AtomicUsize::new(0));
    let count = woken.clone();
    committer.hooks.publish = Box::new(move |_, _| {
        count.fetch_add(1, Relaxed);
    });
    let mut jobs = [job(|_| Err(Unavailable::Full))];
    assert_eq!(committer.commit(&mut jobs), Ok(vec![Err(Unavailable::Full)]));
    assert_eq!(woken.load(Relaxed), 0);
    committer.commit(&mut [job(|tx| make_site(tx, "a"))]).unwrap();
    assert_eq!((woken.load(Relaxed), names(&stored(&committer))), (1, vec!["a"]));
}

#[test]
fn a_judge_that_fails_takes_all_back() {
    let (data, seen) = (tempfile::tempdir().unwrap(), Seen::default());
    let mut committer = seen.committer(data.path());
    committer.hooks.judge = Some(Box::new(|_| Err(Unavailable::Full)));
    assert_eq!(committer.commit(&mut [job(|tx| make_site(tx, "a"))]), Err(Unavailable::Full));
    assert_eq!((names(&committer.image), names(&stored(&committer))), (vec![], vec![]));
    assert_eq!(seen.take_announced(), [""; 0]);
}

#[tokio::test]
async fn readers_have_the_last_commit_while_the_next_one_is_under_way() {
    let (data, seen) = (tempfile::tempdir().unwrap(), Seen::default());
    let engine = store::open(&store::database(data.path()), None).unwrap();
    let hooks = seen.hooks(&Arc::new(Config::default()));
    let (writer, thread) = Writer::start(Box::new(engine), 8, Clock::System, hooks).unwrap();
    writer.write(|tx| make_site(tx, "a")).await.unwrap();
    let before = writer.snapshot();
    let (inside, entered) = tokio::sync::oneshot::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let writing = writer.write(move |tx| {
        make_site(tx, "b")?;
        inside.send(()).unwrap();
        wait.recv().unwrap();
        Ok(())
    });
    let reading = async {
        entered.await.unwrap();
        assert_eq!(names(&writer.snapshot()), ["a"], "nobody waits, and nobody sees what may not come to be");
        go.send(()).unwrap();
    };
    let (written, ()) = tokio::join!(writing, reading);
    written.unwrap();
    assert_eq!((names(&before), names(&writer.snapshot())), (vec!["a"], vec!["a", "b"]));
    writer.close().await;
    thread.join().unwrap();
}

#[test]
fn a_collector_that_does_not_judge_takes_in_and_reads() {
    let (data, seen) = (tempfile::tempdir().unwrap(), Seen::default());
    let mut committer = seen.committer(data.path());
    committer.hooks.judge = None;
    committer.commit(&mut [job(|tx| make_site(tx, "a"))]).unwrap();
    assert_eq!((names(&committer.image), names(&stored(&committer))), (vec!["a"], vec!["a"]));
    assert!(seen.judged.lock().unwrap().is_empty());
}
