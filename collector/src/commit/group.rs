//! One transaction of a group of jobs.

use super::{Announcement, Outcome, Touched, Transaction};
use crate::{
    clock::Clock,
    image::Image,
    store::{Engine, Read, Unavailable},
};
use rules::Timestamp;

/// Reads the whole image from the database.
pub(crate) type Load = Box<dyn Fn(&dyn Read) -> Outcome<Image> + Send>;
/// Judges what the jobs touched, in their transaction.
pub(crate) type Judge = Box<dyn FnMut(&mut Transaction<'_>) -> Outcome<()> + Send>;
/// Publishes the image and logs the announcements of a commit.
pub(crate) type Publish = Box<dyn FnMut(&Image, &[Announcement]) + Send>;

/// The steps of a commit that differ from collector to collector.
pub(crate) struct Hooks {
    pub(crate) load: Load,
    /// None: another collector on the same database judges.
    pub(crate) judge: Option<Judge>,
    pub(crate) publish: Publish,
}

/// Something that somebody wants changed, and waits for.
pub(super) trait Job: Send {
    fn act(&mut self, tx: &mut Transaction<'_>) -> Outcome<()>;
    fn answer(self: Box<Self>, result: Outcome<()>);
}

/// The writer's own things.
pub(super) struct Committer {
    pub(super) engine: Box<dyn Engine>,
    /// As of the last commit, or, inside a transaction, as of this moment in it.
    pub(super) image: Image,
    /// Whether a commit took place could not be told, and neither could the database be read since.
    stale: bool,
    clock: Clock,
    pub(super) hooks: Hooks,
}

impl Committer {
    pub(super) fn new(engine: Box<dyn Engine>, clock: Clock, hooks: Hooks) -> Outcome<Committer> {
        let image = (hooks.load)(engine.records())?;
        Ok(Committer { engine, image, stale: false, clock, hooks })
    }

    /// Runs all jobs in one transaction. Gives the result of each; the outer error is the same for all.
    pub(super) fn commit(&mut self, jobs: &mut [Box<dyn Job>]) -> Outcome<Vec<Outcome<()>>> {
        self.refresh()?;
        let before = self.image.clone();
        let mut announced = Vec::new();
        let done = self.transact(jobs, &mut announced);
        match &done {
            Ok(results) if results.iter().any(Result::is_ok) => (self.hooks.publish)(&self.image, &announced),
            // Nothing new: whoever waits for news of a commit must not be woken, or a full disk makes it try without a pause.
            Ok(_) => {}
            Err(why) => {
                tracing::warn!(%why, "nothing was stored");
                self.engine.roll_back();
                self.go_back(before);
            }
        }
        done
    }

    fn transact(&mut self, jobs: &mut [Box<dyn Job>], announced: &mut Vec<Announcement>) -> Outcome<Vec<Outcome<()>>> {
        self.engine.begin()?;
        let now = self.clock.now();
        let mut touched = Touched::default();
        let mut results = Vec::with_capacity(jobs.len());
        for job in jobs {
            results.push(self.run(job.as_mut(), now, &mut touched, announced)?);
        }
        if results.iter().all(Result::is_err) {
            self.engine.roll_back();
            return Ok(results);
        }
        if let Some(judge) = &mut self.hooks.judge {
            let records = self.engine.records();
            judge(&mut Transaction { records, image: &mut self.image, touched: &mut touched, now, announced })?;
        }
        let committed = self.engine.commit();
        if let Err(Unavailable::Failed(_)) = committed {
            // Unlike a full disk or a lock, this may have happened before or after the commit.
            self.stale = true;
        }
        committed.map(|()| results)
    }

    /// One job. The inner error is the job's: it alone is undone. The outer one ends the whole transaction.
    fn run(&mut self, job: &mut dyn Job, now: Timestamp, touched: &mut Touched, announced: &mut Vec<Announcement>) -> Outcome<Outcome<()>> {
        let (before, said) = (self.image.clone(), announced.len());
        self.engine.begin_job()?;
        let mut own = Touched::default();
        let records = self.engine.records();
        let result = job.act(&mut Transaction { records, image: &mut self.image, touched: &mut own, now, announced });
        match result {
            Ok(()) => {
                self.engine.keep_job()?;
                touched.add(own);
                Ok(Ok(()))
            }
            Err(why) => {
                tracing::warn!(%why, "a change was not stored; others go on");
                announced.truncate(said);
                self.engine.undo_job()?;
                self.go_back(before);
                Ok(Err(why))
            }
        }
    }

    /// To an earlier image, with the losses of this one.
    fn go_back(&mut self, before: Image) {
        let lost = std::mem::replace(&mut self.image, before).lost;
        self.image.lost = lost;
    }

    /// Reads the database again, when memory may differ from it.
    fn refresh(&mut self) -> Outcome<()> {
        if self.stale {
            let loaded = (self.hooks.load)(self.engine.records())?;
            self.go_back(loaded);
            self.stale = false;
        }
        Ok(())
    }
}
