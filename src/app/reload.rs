//! SIGHUP: what can change without a restart does, and what cannot is named.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::http::Tokens;
use crate::settings::{Settings, environment};

/// What a reload needs to know.
pub(super) struct Reload {
    /// The settings file, if one was named.
    pub(super) config: Option<PathBuf>,
    /// The settings in force.
    pub(super) settings: Settings,
}

/// Reads settings and tokens again. With a fault in either, all stays as it is.
pub(super) async fn reload(known: &mut Reload, tokens: &watch::Sender<Arc<Tokens>>) {
    let config = known.config.clone();
    #[expect(clippy::disallowed_methods, reason = "settings are read on a blocking thread")]
    let read = tokio::task::spawn_blocking(move || {
        let settings =
            Settings::load(config.as_deref(), environment()).map_err(|error| error.to_string())?;
        let tokens = match &settings.auth.tokens_file {
            Some(path) => Tokens::load(path).map_err(|error| error.to_string())?,
            None => Tokens::default(),
        };
        Ok::<_, String>((settings, tokens))
    });
    let (settings, fresh) = match read.await {
        Ok(Ok(read)) => read,
        Ok(Err(why)) => {
            error!(why, "the settings have faults; nothing was reloaded");
            return;
        }
        Err(why) => {
            error!(%why, "the reload broke off; nothing was reloaded");
            return;
        }
    };
    tokens.send_replace(Arc::new(fresh));
    known.settings.auth.clone_from(&settings.auth);
    let waiting = sections_that_differ(&known.settings, &settings);
    if waiting.is_empty() {
        info!("tokens reloaded");
    } else {
        warn!(sections = ?waiting, "tokens reloaded; these sections changed and need a restart");
    }
}

fn sections_that_differ(old: &Settings, new: &Settings) -> Vec<&'static str> {
    [
        ("server", old.server != new.server),
        ("api", old.api != new.api),
        ("state", old.state != new.state),
        ("storage", old.storage != new.storage),
        ("monitor", old.monitor != new.monitor),
        ("ssh", old.ssh != new.ssh),
        ("callback", old.callback != new.callback),
    ]
    .into_iter()
    .filter_map(|(section, differs)| differs.then_some(section))
    .collect()
}
