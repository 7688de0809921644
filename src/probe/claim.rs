//! Permanent writes of the probe: they claim a directory for a store, and they revert a claim.

use tokio::time::Instant;

use super::identity::{IdentityInput, check_identity, concurrent_marker_fault, ensure_unchanged};
use super::marker::{IdentityMarker, probe_file};
use super::prober::{Prober, request_fault};
use super::process::WorkerClient;
use super::process::slot::WorkerSlot;
use super::types::{
    AddLeftovers, DirectoryInspection, DirectoryOwner, MarkerClaim, ProbeExpectation,
};
use super::worker::protocol::{
    DirectoryObservation, InitRequest, ReplacedMarker, WorkerOwner, WorkerRequest, WorkerResponse,
};
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
        expectation: &ProbeExpectation,
        claim: &MarkerClaim,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let text = self.marker_of(claim);
        let probe = probe_file(self.options.node_id);
        let over = claim.previous_marker.0.clone();
        let request = WorkerRequest::Mark { probe, text, over };
        let final_check = |input: &IdentityInput<'_>| ensure_unchanged(claim, input);
        self.run_change(slot, dir, expectation, final_check, &request, deadline).await
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
            before: claim.previous_marker.0.clone(),
        });
        let probe = probe_file(self.options.node_id);
        let request = WorkerRequest::Release { probe, marker, folder: left.folder };
        self.with_worker(slot, dir, deadline, async |client| {
            self.open_directory(client, dir).await?;
            client
                .send_request(&request)
                .await
                .map(drop)
                .map_err(|error| request_fault(error, None))
        })
        .await
    }

    fn marker_of(&self, claim: &MarkerClaim) -> String {
        let owner = Some((claim.store, self.options.node_id));
        IdentityMarker { id: claim.marker, owner }.to_text(claim.created)
    }

    /// Initializes a directory for the command `init`. Creates the marker's folder, and a marker
    /// without a store if there is none. Creates the missing folders `registry` and `export` with
    /// mode 0750. `owner` becomes the owner of everything that is created. An existing folder of
    /// the marker, and an existing marker, must belong to it. The directory is then examined as an
    /// add would do it.
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
        let request = WorkerRequest::Prepare(InitRequest {
            folders: ["registry", "export"].map(str::to_owned).to_vec(),
            probe: probe_file(self.options.node_id),
            marker: IdentityMarker { id: marker, owner: None }.to_text(created),
            owner: owner.map(|owner| WorkerOwner { uid: owner.uid, gid: owner.gid }),
        });
        self.with_worker(slot, dir, deadline, async |client| {
            let (_, observed) = self.run_inspection(client, dir, &ProbeExpectation::Init).await?;
            self.send_change(client, &request, &observed).await
        })
        .await?;
        self.examine(slot, dir, &ProbeExpectation::Init, deadline).await.into_inspection()
    }

    /// Carries out a request on a directory. First it checks the identity once more on the same
    /// handle, and calls `final_check`.
    async fn run_change(
        &self,
        slot: &mut WorkerSlot,
        dir: &ImageDir,
        expectation: &ProbeExpectation,
        final_check: impl FnOnce(&IdentityInput<'_>) -> Result<(), Fault>,
        request: &WorkerRequest,
        deadline: Instant,
    ) -> Result<(), Fault> {
        self.with_worker(slot, dir, deadline, async |client| {
            let observed = self.open_directory(client, dir).await?;
            let input = self.identity_input(&observed);
            check_identity(expectation, &input)?;
            final_check(&input)?;
            self.send_change(client, request, &observed).await
        })
        .await
    }

    async fn send_change(
        &self,
        client: &mut WorkerClient<'_>,
        request: &WorkerRequest,
        observed: &DirectoryObservation,
    ) -> Result<(), Fault> {
        let mount = &observed.mount;
        match client.send_request(request).await {
            Ok(WorkerResponse::Changed(marker)) => {
                Err(concurrent_marker_fault(self.options.node_id, &marker, mount))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(request_fault(error, Some(mount))),
        }
    }
}
