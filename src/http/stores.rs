//! What the routes ask of the agent.

use std::sync::Arc;

use crate::agent::{AcceptError, AddError, Registry, StoreHandle, StoreView};
use crate::lifecycle::History;
use crate::model::{AddStore, Failure, StoreUpdate, StoreUuid, Tags};

/// The stores behind the routes. The daemon has one kind, [`Registry`]; the seam is here so that the
/// server can be tested against stores that hang, fail and overlap to order.
///
/// The futures only wait: dropping one changes nothing.
pub trait Stores: Clone + Send + Sync + 'static {
    /// All stores, by uuid.
    fn views(&self) -> Vec<Arc<StoreView>>;

    /// One store.
    fn view(&self, uuid: StoreUuid) -> Option<Arc<StoreView>>;

    /// The newest lines of a store's history, and how many are gone; none when they could not be read in time.
    fn history(&self, uuid: StoreUuid, lines: u32) -> impl Future<Output = Option<History>> + Send;

    /// Proves a store usable anew; none when there is no such store, or it is removed meanwhile.
    fn reconnect(
        &self,
        uuid: StoreUuid,
        tags: Tags,
        force: bool,
    ) -> impl Future<Output = Option<Result<Arc<StoreView>, Failure>>> + Send;

    /// Changes a store's definition, and reconnects when its login is another; none as above.
    fn update(
        &self,
        uuid: StoreUuid,
        asked: StoreUpdate,
    ) -> impl Future<Output = Option<Result<Arc<StoreView>, Failure>>> + Send;

    /// Pins the host key that a store's last failed attempt recorded, and reconnects; none as above.
    fn accept_host_key(
        &self,
        uuid: StoreUuid,
        fingerprint: String,
        tags: Tags,
    ) -> impl Future<Output = Option<Result<Arc<StoreView>, AcceptError>>> + Send;

    /// Serves one more store.
    fn add(&self, asked: AddStore)
    -> impl Future<Output = Result<Arc<StoreView>, AddError>> + Send;

    /// Forgets a store; false when there is none.
    fn remove(&self, uuid: StoreUuid) -> impl Future<Output = Result<bool, Failure>> + Send;
}

impl Stores for Registry {
    fn views(&self) -> Vec<Arc<StoreView>> {
        self.stores().values().map(StoreHandle::view).collect()
    }

    fn view(&self, uuid: StoreUuid) -> Option<Arc<StoreView>> {
        self.store(uuid).map(|store| store.view())
    }

    async fn history(&self, uuid: StoreUuid, lines: u32) -> Option<History> {
        Registry::history(self, uuid, lines).await
    }

    async fn reconnect(
        &self,
        uuid: StoreUuid,
        tags: Tags,
        force: bool,
    ) -> Option<Result<Arc<StoreView>, Failure>> {
        Registry::reconnect(self, uuid, tags, force).await
    }

    async fn update(
        &self,
        uuid: StoreUuid,
        asked: StoreUpdate,
    ) -> Option<Result<Arc<StoreView>, Failure>> {
        Registry::update(self, uuid, asked).await
    }

    async fn accept_host_key(
        &self,
        uuid: StoreUuid,
        fingerprint: String,
        tags: Tags,
    ) -> Option<Result<Arc<StoreView>, AcceptError>> {
        Registry::accept_host_key(self, uuid, &fingerprint, tags).await
    }

    async fn add(&self, asked: AddStore) -> Result<Arc<StoreView>, AddError> {
        Registry::add(self, asked).await
    }

    async fn remove(&self, uuid: StoreUuid) -> Result<bool, Failure> {
        Registry::remove(self, uuid).await
    }
}
