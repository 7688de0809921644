//! Making a directory a store's, and taking that back: the writes of the probe that stay.

use tokio::time::Instant;

use super::identity::{ObservedMarker, check_identity, concurrent_marker, ensure_unchanged};
use super::marker::{IdentityMarker, MARKER_FOLDER, probe_file};
use super::prober::{Prober, no_response};
use super::process::slot::WorkerSlot;
use super::purpose::ProbeExpectation;
use super::types::{AddLeftovers, DirectoryInspection, DirectoryOwner, MarkerClaim};
use super::worker::protocol::{ReplacedMarker, WorkerRequest, WorkerResponse};
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
    pub async fn write_marker(
        &self,
        slot: &mut WorkerSlot,
        dir: &ImageDir,
        purpose: &ProbeExpectation,
        claim: &MarkerClaim,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let text = self.marker_of(claim);
        let probe = probe_file(self.options.node_id);
        let over = claim.before.0.clone();
        let order = WorkerRequest::Mark { probe, text, over };
        let last_look = |seen: &ObservedMarker<'_>| ensure_unchanged(claim, seen);
        self.run_change(slot, dir, purpose, last_look, &[order], deadline).await
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
    pub async fn clean_up(
        &self,
        slot: &mut WorkerSlot,
        dir: &ImageDir,
        left: &AddLeftovers,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let marker = left.claim.as_ref().map(|claim| ReplacedMarker {
            ours: self.marker_of(claim),
            before: claim.before.0.clone(),
        });
        let probe = probe_file(self.options.node_id);
        let order = WorkerRequest::Release { probe, marker, folder: left.folder };
        self.with_worker(slot, dir, deadline, async |dialogue| {
            self.open_directory(dialogue, dir).await?;
            dialogue.send_request(&order).await.map(drop).map_err(|s| no_response(s, None))
        })
        .await
    }

    fn marker_of(&self, claim: &MarkerClaim) -> String {
        let owner = Some((claim.store, self.options.node_id));
        IdentityMarker { id: claim.marker, owner }.to_text(claim.created)
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
    pub async fn init_directory(
        &self,
        slot: &mut WorkerSlot,
        dir: &ImageDir,
        marker: MarkerId,
        created: Timestamp,
        owner: Option<DirectoryOwner>,
        deadline: Instant,
    ) -> Result<DirectoryInspection, Fault> {
        let examined =
            self.examine(slot, dir, &ProbeExpectation::Init, deadline).await.into_inspection()?;
        let mut orders = Vec::new();
        if examined.marker.is_none() {
            let text = IdentityMarker { id: marker, owner: None }.to_text(created);
            let probe = probe_file(self.options.node_id);
            orders.push(WorkerRequest::Mark { probe, text, over: None });
        }
        let folders = [MARKER_FOLDER, "registry", "export"].map(str::to_owned).to_vec();
        let owner = owner.map(|owner| (owner.uid, owner.gid));
        orders.push(WorkerRequest::Prepare { folders, owner });
        self.run_change(slot, dir, &ProbeExpectation::Init, |_| Ok(()), &orders, deadline).await?;
        let again =
            self.examine(slot, dir, &ProbeExpectation::Init, deadline).await.into_inspection()?;
        Ok(DirectoryInspection { created_folder: examined.created_folder, ..again })
    }

    /// Carries out orders on a directory that is judged once more on the same handle, and by `last_look`.
    async fn run_change(
        &self,
        slot: &mut WorkerSlot,
        dir: &ImageDir,
        purpose: &ProbeExpectation,
        last_look: impl FnOnce(&ObservedMarker<'_>) -> Result<(), Fault>,
        orders: &[WorkerRequest],
        deadline: Instant,
    ) -> Result<(), Fault> {
        self.with_worker(slot, dir, deadline, async |dialogue| {
            let observed = self.open_directory(dialogue, dir).await?;
            let (seen, mount) = (self.observed_marker(&observed), &observed.mount);
            check_identity(purpose, &seen)?;
            last_look(&seen)?;
            for order in orders {
                let report =
                    dialogue.send_request(order).await.map_err(|s| no_response(s, Some(mount)))?;
                if let WorkerResponse::Changed(marker) = report {
                    return Err(concurrent_marker(seen.node, &marker, mount));
                }
            }
            Ok(())
        })
        .await
    }
}
