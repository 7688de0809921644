//! Permanent writes of the probe: they claim a directory for a store, and they revert a claim.

use tokio::time::Instant;

use super::identity::{ObservedMarker, check_identity, concurrent_marker, ensure_unchanged};
use super::marker::{IdentityMarker, MARKER_FOLDER, probe_file};
use super::prober::{Prober, no_response};
use super::process::slot::WorkerSlot;
use super::types::{
    AddLeftovers, DirectoryInspection, DirectoryOwner, MarkerClaim, ProbeExpectation,
};
use super::worker::protocol::{ReplacedMarker, WorkerRequest, WorkerResponse};
use crate::common::Timestamp;
use crate::model::{Fault, ImageDir, MarkerId};

impl Prober {
    /// Claims a directory for a store after [`Prober::examine`] found it free. Writes the marker
    /// through the probe file, and syncs the file and its name.
    ///
    /// # Errors
    /// The fault that prevented the write, or that the last check before it found. It is
    /// `not_mounted`, `wrong_store` or `taken_over` if the directory is no longer the one that was
    /// examined. If two writers claim the directory at the same time, one of them gets such a
    /// fault.
    ///
    /// # Cancel safety
    /// The marker may or may not have been written; it is never partial.
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

    /// Removes only the changes that a failed add may have left. These are the probe file, a marker
    /// whose text equals that of the claim, and an empty folder that the add created. The marker
    /// before the claim is restored.
    ///
    /// # Errors
    /// The fault that prevented the removal.
    ///
    /// # Cancel safety
    /// The changes may or may not have been removed; a marker is never partial.
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

    /// Initializes a directory for the command `init`. Creates the marker's folder, and a marker
    /// without a store if there is none. Creates the missing folders `registry` and `export` with
    /// mode 0750. `owner` becomes the owner of the created folders, of the marker's folder and of
    /// the marker. The directory is then examined as an add would do it.
    ///
    /// # Errors
    /// The same faults as [`Prober::examine`], and those of the write.
    ///
    /// # Cancel safety
    /// Changes that were made stay. A repeated call is safe.
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

    /// Carries out requests on a directory. First it checks the identity once more on the same
    /// handle, and calls `last_look`.
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
