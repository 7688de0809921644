//! The probe as the daemon calls it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::identity::{Seen, judge};
use super::marker::probe_file;
use super::mount_check::missing_mount;
use super::process::client::{Dialogue, Program, Silence};
use super::process::slot::Slot;
use super::purpose::Purpose;
use super::types::{Before, Examined, ProbeOptions, Probed};
use super::worker::protocol::{MarkerSeen, MountSeen, Observed, Order, Report};
use super::{capacity, errno};
use crate::model::{Fault, ImageDir, Reason, WriteOutcome};

/// Looks at image directories. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Prober {
    pub(super) options: Arc<ProbeOptions>,
    program: Arc<Program>,
}

impl Prober {
    /// A prober whose workers are this program.
    pub fn new(options: ProbeOptions) -> Self {
        Self { options: Arc::new(options), program: Arc::default() }
    }

    /// Takes another program as worker, which behaves as [`worker_main`](super::worker_main) does.
    #[must_use]
    pub fn with_program(mut self, path: PathBuf, args: Vec<String>) -> Self {
        self.program = Arc::new(Program { path, args });
        self
    }

    /// Examines an image directory: identity, capacity, and where the purpose asks for it a write.
    /// Ends at most a quarter of a second after `deadline`, whatever the disk does.
    ///
    /// # Errors
    /// The fault of the examination is the one found first: path, then identity, then what the
    /// superblock says, then figures. `probe_timeout` at the deadline, `probe_stuck` while an earlier
    /// worker of the slot cannot be killed, `agent_busy` when no worker can be started.
    ///
    /// # Cancel safety
    /// The worker is killed; the slot remembers it until it is gone.
    pub async fn examine(
        &self,
        slot: &mut Slot,
        dir: &ImageDir,
        purpose: &Purpose,
        deadline: Instant,
    ) -> Probed {
        let begun = Instant::now();
        let (examined, written) = self.look_and_write(slot, dir, purpose, deadline).await;
        let took = begun.elapsed();
        let whole = |fault| complete(fault, dir, took);
        Probed {
            examined: examined.map_err(whole),
            written: written.map(|written| written.map_err(whole)),
            took,
        }
    }

    async fn look_and_write(
        &self,
        slot: &mut Slot,
        dir: &ImageDir,
        purpose: &Purpose,
        deadline: Instant,
    ) -> (Result<Examined, Fault>, Option<Result<WriteOutcome, Fault>>) {
        let mut dialogue = match Dialogue::begin(slot, &self.program, dir, deadline).await {
            Ok(dialogue) => dialogue,
            Err(fault) => return (Err(fault), None),
        };
        let (examined, observed) = match self.look(&mut dialogue, dir, purpose).await {
            Ok(seen) => seen,
            Err(fault) => return (Err(dialogue.give_up(fault).await), None),
        };
        let Some(make_folder) = writes(purpose, &observed) else {
            dialogue.finish().await;
            return (Ok(examined), None);
        };
        let probe = probe_file(self.options.node_id);
        let asked = dialogue.ask(&Order::Write { probe, make_folder }).await;
        match written(asked, &observed, purpose) {
            Ok((written, made_folder)) => {
                dialogue.finish().await;
                (Ok(Examined { made_folder, ..examined }), Some(Ok(written)))
            }
            Err(fault) => {
                // A worker that was killed may have made it; one that refused has taken it away.
                let examined = Examined { made_folder: make_folder, ..examined };
                (Ok(examined), Some(Err(dialogue.give_up(fault).await)))
            }
        }
    }

    /// Talks to a worker of its own and ends it.
    pub(super) async fn talk<T>(
        &self,
        slot: &mut Slot,
        dir: &ImageDir,
        deadline: Instant,
        work: impl AsyncFnOnce(&mut Dialogue<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let begun = Instant::now();
        let talked = async {
            let mut dialogue = Dialogue::begin(slot, &self.program, dir, deadline).await?;
            match work(&mut dialogue).await {
                Ok(done) => {
                    dialogue.finish().await;
                    Ok(done)
                }
                Err(fault) => Err(dialogue.give_up(fault).await),
            }
        };
        talked.await.map_err(|fault| complete(fault, dir, begun.elapsed()))
    }

    async fn look(
        &self,
        dialogue: &mut Dialogue<'_>,
        dir: &ImageDir,
        purpose: &Purpose,
    ) -> Result<(Examined, Box<Observed>), Fault> {
        let observed = match self.open(dialogue, dir).await {
            Ok(observed) => observed,
            Err(fault) => return Err(missing_mount(fault, purpose)),
        };
        let marker = judge(purpose, &self.seen(&observed))?;
        if observed.mount.superblock_read_only {
            return Err(errno::read_only(&observed.mount));
        }
        let (capacity, inodes) = capacity::capacity(&observed.statfs)?;
        let examined = Examined {
            capacity,
            inodes,
            place: observed.mount.place(),
            marker,
            before: before(&observed.marker),
            has_registry: observed.registry,
            made_folder: false,
        };
        Ok((examined, observed))
    }

    pub(super) async fn open(
        &self,
        dialogue: &mut Dialogue<'_>,
        dir: &ImageDir,
    ) -> Result<Box<Observed>, Fault> {
        let roots = self.options.allowed_roots.clone();
        let order = Order::Open { dir: dir.as_str().to_owned(), roots };
        match dialogue.ask(&order).await {
            Ok(Report::Observed(observed)) => Ok(observed),
            Ok(_) => Err(Fault::new(Reason::IoError, "the worker process answered something else")),
            Err(why) => Err(silence(why, None)),
        }
    }

    pub(super) fn seen<'a>(&self, observed: &'a Observed) -> Seen<'a> {
        Seen {
            node: self.options.node_id,
            allow_root_disk: self.options.allow_root_disk,
            mount: &observed.mount,
            marker: &observed.marker,
            registry: observed.registry,
        }
    }
}

/// What every fault of a probe carries, whatever it was found by: where, and how long it took.
fn complete(fault: Fault, dir: &ImageDir, took: Duration) -> Fault {
    fault
        .default_fact("path", dir.as_str())
        .with_detail("milliseconds", took.as_millis())
        // A marker and a mount point may say anything.
        .sanitized()
}

/// Whether this purpose asks for a write, and whether that may make the folder first. A directory that
/// is to be marked is always written to: whoever cannot write there cannot mark it.
fn writes(purpose: &Purpose, observed: &Observed) -> Option<bool> {
    match purpose {
        Purpose::Serve { write, .. } => write.then_some(false),
        Purpose::Add { .. } | Purpose::Init => Some(!observed.folder),
    }
}

fn before(marker: &MarkerSeen) -> Before {
    match marker {
        MarkerSeen::Text(text) => Before(Some(text.clone())),
        MarkerSeen::Nothing | MarkerSeen::Unreadable(_) => Before(None),
    }
}

/// What a write probe has shown, and whether it made the folder.
fn written(
    asked: Result<Report, Silence>,
    observed: &Observed,
    purpose: &Purpose,
) -> Result<(WriteOutcome, bool), Fault> {
    match asked {
        Ok(Report::Written { micros, made_folder }) => {
            Ok((WriteOutcome::Done(Duration::from_micros(micros)), made_folder))
        }
        Ok(_) => Err(Fault::new(Reason::IoError, "the worker process answered something else")),
        Err(Silence::Failed(failed)) if matches!(purpose, Purpose::Serve { .. }) => {
            match errno::no_room(&failed, &observed.statfs) {
                Some(written) => Ok((written, false)),
                None => Err(errno::fault(&failed, Some(&observed.mount))),
            }
        }
        Err(why) => Err(silence(why, Some(&observed.mount))),
    }
}

pub(super) fn silence(silence: Silence, mount: Option<&MountSeen>) -> Fault {
    match silence {
        Silence::Failed(failed) => errno::fault(&failed, mount),
        Silence::Over(fault) => fault,
    }
}
