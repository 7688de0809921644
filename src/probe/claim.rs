//! Making a directory a store's, and taking that back: the writes of the probe that stay.

use tokio::time::Instant;

use super::identity::{Seen, judge, marked_meanwhile, unchanged};
use super::marker::{FOLDER, Marker, probe_file};
use super::prober::{Prober, silence};
use super::process::slot::Slot;
use super::purpose::Purpose;
use super::types::{Claim, Examined, Left, Owner};
use super::worker::protocol::{Order, Replaced, Report};
use crate::common::Timestamp;
use crate::model::{Fault, ImageDir, MarkerId};

impl Prober {
    /// Makes a directory this store's, after [`Prober::examine`] found it free: writes the marker, by
    /// way of the probe file, and syncs it and its name.
    ///
    /// # Errors
    /// The fault that kept the marker from being written, or that was found on a last look before:
    /// `not_mounted`, `wrong_store` or `taken_over` when the directory is no longer the one that was
    /// examined. Of two that claim it at the same time one gets such a fault.
    ///
    /// # Cancel safety
    /// The marker may or may not have been written; it is never half.
    pub async fn claim(
        &self,
        slot: &mut Slot,
        dir: &ImageDir,
        purpose: &Purpose,
        claim: &Claim,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let text = self.marker_of(claim);
        let probe = probe_file(self.options.node_id);
        let over = claim.before.0.clone();
        let order = Order::Mark { probe, text, over };
        let last_look = |seen: &Seen<'_>| unchanged(claim, seen);
        self.change(slot, dir, purpose, last_look, &[order], deadline).await
    }

    /// Takes away what an add that failed may have left, and nothing else: the probe file, a marker that
    /// is word for word the one of the claim (the one before it is put in its place again), and a folder
    /// it made that is empty now.
    ///
    /// # Errors
    /// The fault that kept it there.
    ///
    /// # Cancel safety
    /// What was left may or may not be gone; a marker is never half.
    pub async fn release(
        &self,
        slot: &mut Slot,
        dir: &ImageDir,
        left: &Left,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let marker = left
            .claim
            .as_ref()
            .map(|claim| Replaced { ours: self.marker_of(claim), before: claim.before.0.clone() });
        let probe = probe_file(self.options.node_id);
        let order = Order::Release { probe, marker, folder: left.folder };
        self.talk(slot, dir, deadline, async |dialogue| {
            self.open(dialogue, dir).await?;
            dialogue.ask(&order).await.map(drop).map_err(|s| silence(s, None))
        })
        .await
    }

    fn marker_of(&self, claim: &Claim) -> String {
        let owner = Some((claim.store, self.options.node_id));
        Marker { id: claim.marker, owner }.text(claim.created)
    }

    /// Marks a directory by hand: the folder, a marker that names no store where there is none, and
    /// `registry` and `export` where absent, mode 0750, given to `owner`. Then looks at it as an add
    /// would.
    ///
    /// # Errors
    /// As [`Prober::examine`].
    ///
    /// # Cancel safety
    /// What has been made stays; repeating it is safe.
    pub async fn init(
        &self,
        slot: &mut Slot,
        dir: &ImageDir,
        marker: MarkerId,
        created: Timestamp,
        owner: Option<Owner>,
        deadline: Instant,
    ) -> Result<Examined, Fault> {
        let examined = self.examine(slot, dir, &Purpose::Init, deadline).await.good()?;
        let mut orders = Vec::new();
        if examined.marker.is_none() {
            let text = Marker { id: marker, owner: None }.text(created);
            let probe = probe_file(self.options.node_id);
            orders.push(Order::Mark { probe, text, over: None });
        }
        let folders = [FOLDER, "registry", "export"].map(str::to_owned).to_vec();
        let owner = owner.map(|owner| (owner.uid, owner.gid));
        orders.push(Order::Prepare { folders, owner });
        self.change(slot, dir, &Purpose::Init, |_| Ok(()), &orders, deadline).await?;
        let again = self.examine(slot, dir, &Purpose::Init, deadline).await.good()?;
        Ok(Examined { made_folder: examined.made_folder, ..again })
    }

    /// Carries out orders on a directory that is judged once more on the same handle, and by `last_look`.
    async fn change(
        &self,
        slot: &mut Slot,
        dir: &ImageDir,
        purpose: &Purpose,
        last_look: impl FnOnce(&Seen<'_>) -> Result<(), Fault>,
        orders: &[Order],
        deadline: Instant,
    ) -> Result<(), Fault> {
        self.talk(slot, dir, deadline, async |dialogue| {
            let observed = self.open(dialogue, dir).await?;
            let (seen, mount) = (self.seen(&observed), &observed.mount);
            judge(purpose, &seen)?;
            last_look(&seen)?;
            for order in orders {
                let report = dialogue.ask(order).await.map_err(|s| silence(s, Some(mount)))?;
                if let Report::Changed(marker) = report {
                    return Err(marked_meanwhile(seen.node, &marker, mount));
                }
            }
            Ok(())
        })
        .await
    }
}
