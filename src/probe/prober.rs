//! The probe as the daemon calls it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::dialogue::{Dialogue, Program, Silence};
use super::identity::{Purpose, Seen, judge};
use super::marker::probe_file;
use super::order::{MarkerSeen, MountSeen, Observed, Order, Report};
use super::place::missing_mount;
use super::slot::Slot;
use super::values::{Before, Examined, ProbeOptions, WriteProbe};
use super::{sample, trouble};
use crate::model::{Fault, ImageDir, Reason};

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
    /// The fault that was found first, in the order of the words in `contract` section 5: path, then
    /// identity, then figures, then the write. `probe_timeout` at the deadline, `probe_stuck` while an
    /// earlier worker of the slot cannot be killed.
    ///
    /// # Cancel safety
    /// The worker is killed; the slot remembers it until it is gone.
    pub async fn examine(
        &self,
        slot: &mut Slot,
        dir: &ImageDir,
        purpose: &Purpose,
        deadline: Instant,
    ) -> Result<Examined, Fault> {
        self.talk(slot, dir, deadline, async |dialogue| self.look(dialogue, dir, purpose).await)
            .await
    }

    /// Talks to a worker of its own and ends it. The one way out of a probe: here a fault gets what all
    /// of them carry.
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
        talked.await.map_err(|fault: Fault| {
            let fault = match fault.facts().contains_key("path") {
                true => fault,
                false => fault.fact("path", dir.as_str()),
            };
            // A marker and a mount point may say anything.
            fault.fact("milliseconds", begun.elapsed().as_millis()).printable()
        })
    }

    async fn look(
        &self,
        dialogue: &mut Dialogue<'_>,
        dir: &ImageDir,
        purpose: &Purpose,
    ) -> Result<Examined, Fault> {
        let observed = match self.open(dialogue, dir).await {
            Ok(observed) => observed,
            Err(fault) => return Err(missing_mount(fault, purpose)),
        };
        let marker = judge(purpose, &self.seen(&observed))?;
        let (capacity, inodes) = sample::capacity(&observed.statfs)?;
        let (write, made_folder) = match self.write(purpose, &observed) {
            Some(order) => write(dialogue, &order, &observed.mount, purpose).await?,
            None => (None, false),
        };
        Ok(Examined {
            capacity,
            inodes,
            place: observed.mount.place(),
            marker,
            before: before(&observed.marker),
            has_registry: observed.registry,
            made_folder,
            write,
            elapsed: dialogue.elapsed(),
        })
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

    /// The write probe this purpose asks for. A directory that is to be marked is always written to:
    /// whoever cannot write there cannot mark it.
    fn write(&self, purpose: &Purpose, observed: &Observed) -> Option<Order> {
        let make_folder = match purpose {
            Purpose::Serve { write, .. } if !*write || !self.options.write_probe => return None,
            Purpose::Serve { .. } => false,
            Purpose::Add { .. } | Purpose::Init => !observed.folder,
        };
        Some(Order::Write { probe: probe_file(self.options.node_id), make_folder })
    }
}

fn before(marker: &MarkerSeen) -> Before {
    match marker {
        MarkerSeen::Text(text) => Before(Some(text.clone())),
        MarkerSeen::Nothing | MarkerSeen::Unreadable(_) => Before(None),
    }
}

async fn write(
    dialogue: &mut Dialogue<'_>,
    order: &Order,
    mount: &MountSeen,
    purpose: &Purpose,
) -> Result<(Option<WriteProbe>, bool), Fault> {
    match dialogue.ask(order).await {
        Ok(Report::Written { micros, made_folder }) => {
            Ok((Some(WriteProbe::Written(Duration::from_micros(micros))), made_folder))
        }
        Ok(_) => Err(Fault::new(Reason::IoError, "the worker process answered something else")),
        Err(Silence::Failed(failed))
            if trouble::is_full(&failed) && matches!(purpose, Purpose::Serve { .. }) =>
        {
            Ok((Some(WriteProbe::Full), false))
        }
        Err(why) => Err(silence(why, Some(mount))),
    }
}

pub(super) fn silence(silence: Silence, mount: Option<&MountSeen>) -> Fault {
    match silence {
        Silence::Failed(failed) => trouble::fault(&failed, mount),
        Silence::Over(fault) => fault,
    }
}
