//! From a file and an environment to settings.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use config::{Map, Value};

use super::error::{SettingFault, SettingsError};
use super::files;
use super::schema::read_settings;
use super::sections::Settings;
use super::source::layer::{SettingsLayer, VARIABLE_PREFIX};
use super::source::reader::{KnownKeys, SettingsReader};

/// The file that is read when none is named.
pub const DEFAULT_SETTINGS_FILE: &str = "/etc/imagestore-agent/agent.toml";

/// Names the settings file where no argument does; empty counts as unset.
const FILE_VARIABLE: &str = "IMAGESTORE_AGENT_CONFIG";

type EnvironmentVariables = BTreeMap<String, String>;

impl Settings {
    /// The built-in defaults alone.
    pub fn built_in() -> Self {
        read_settings(&mut SettingsReader::new(&no_value()))
    }

    /// Layers the built-in defaults, the file and the `IMAGESTORE_AGENT__SECTION__KEY` variables.
    ///
    /// Without `file` the one that `IMAGESTORE_AGENT_CONFIG` names is read, else [`DEFAULT_SETTINGS_FILE`] if
    /// it is there. A named file must be there. Blocks on the file: call it before the runtime starts
    /// or on a thread of its own.
    ///
    /// # Errors
    /// [`SettingsError`] with every fault, for a person to correct.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let variables = is_own_variable(env);
        let (path, text) = file_source(file_named(file, &variables));
        Self::from_layers(path, text, &variables)
    }

    /// As [`Settings::load`] for who can do without the file: one that may not be read by this user is
    /// passed over, and so is a faulty one that nobody named. The second value says why.
    ///
    /// # Errors
    /// As [`Settings::load`], for what is left.
    pub fn load_lenient(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Option<SettingsError>), SettingsError> {
        let variables = is_own_variable(env);
        let named = file_named(file, &variables);
        let (path, text) = file_source(named);
        let denied = text.as_ref().err().is_some_and(|error| {
            // The system's word, and not ours about what the file holds.
            error.raw_os_error().is_some() && error.kind() != io::ErrorKind::NotFound
        });
        match Self::from_layers(path, text, &variables) {
            Err(bad) if denied || named.is_none() => {
                Self::from_layers(path, Ok(String::new()), &variables)
                    .map(|settings| (settings, Some(bad)))
            }
            loaded => loaded.map(|settings| (settings, None)),
        }
    }

    fn from_layers(
        path: &Path,
        text: io::Result<String>,
        variables: &EnvironmentVariables,
    ) -> Result<Self, SettingsError> {
        let origin = path.display().to_string();
        let mut faults = Vec::new();
        let text = text.unwrap_or_else(|error| {
            faults.push(SettingFault {
                key: String::new(),
                value: None,
                what: format!("cannot be read: {error}"),
                allowed: None,
                origin: Some(origin.clone()),
            });
            String::new()
        });
        Self::from_sources(&text, &origin, variables, faults)
    }

    fn from_sources(
        text: &str,
        origin: &str,
        variables: &EnvironmentVariables,
        mut faults: Vec<SettingFault>,
    ) -> Result<Self, SettingsError> {
        let known = known_keys();
        let file = SettingsLayer::of_file(text, origin, &known, &mut faults);
        let environment = SettingsLayer::of_environment(variables, &known, &mut faults);
        let tree = file.keys_under(environment).unwrap_or_else(|error| {
            faults.push(SettingFault {
                key: String::new(),
                value: None,
                what: format!("cannot be layered: {error}"),
                allowed: None,
                origin: Some(origin.to_owned()),
            });
            no_value()
        });
        let mut reader = SettingsReader::new(&tree);
        let settings = read_settings(&mut reader);
        faults.extend(reader.into_faults());
        if faults.is_empty() { Ok(settings) } else { Err(SettingsError::new(faults)) }
    }

    /// The files these settings name that cannot be read by the caller of this function; the daemon's
    /// user may see others. Blocks on those files.
    pub fn check_files(&self) -> Vec<SettingFault> {
        let tls = self.server.tls.as_ref();
        let named = [
            ("server.tls.cert", tls.map(|tls| &tls.cert)),
            ("server.tls.key", tls.map(|tls| &tls.key)),
            ("server.tls.client_ca", tls.and_then(|tls| tls.client_ca.as_ref())),
            ("server.tls.clients_file", tls.and_then(|tls| tls.clients_file.as_ref())),
            ("auth.tokens_file", self.auth.tokens_file.as_ref()),
            (MASTER_KEY_FILE, self.state.master_key_file.as_ref()),
            ("callback.signing_secret_file", self.callback.signing_secret_file.as_ref()),
            ("callback.ca_file", self.callback.ca_file.as_ref()),
            ("callback.client_cert", self.callback.client_cert.as_ref()),
            ("callback.client_key", self.callback.client_key.as_ref()),
        ];
        let unreadable = |(key, path): (&str, Option<_>)| {
            let path: &std::path::PathBuf = path?;
            let error = files::check_readable(path).err()?;
            Some(SettingFault::unreadable_file(key, path, &error))
        };
        named.into_iter().filter_map(unreadable).collect()
    }
}

/// The key of the file that seals stored secrets.
pub const MASTER_KEY_FILE: &str = "state.master_key_file";

/// Whether a start needs the file of this key; `serve` only warns of the others.
pub fn required_at_start(key: &str) -> bool {
    // Without the master key the stores are shown and probed, nothing is sealed anew in its place, and
    // restoring it brings every secret back.
    key != MASTER_KEY_FILE
}

/// This process's variables that [`Settings::load`] looks at. One that is not UTF-8 is kept with
/// replacement characters, so that it is told as a fault rather than passed over.
pub fn environment_variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| concerns_us(name))?;
        Some((name, value.to_string_lossy().into_owned()))
    })
}

fn is_own_variable(env: impl IntoIterator<Item = (String, String)>) -> EnvironmentVariables {
    env.into_iter().filter(|(name, _)| concerns_us(name)).collect()
}

fn file_named<'a>(file: Option<&'a Path>, variables: &'a EnvironmentVariables) -> Option<&'a Path> {
    file.or_else(|| variables.get(FILE_VARIABLE).filter(|path| !path.is_empty()).map(Path::new))
}

/// The settings file and what it holds; the default one holds nothing when it is not there.
fn file_source(named: Option<&Path>) -> (&Path, io::Result<String>) {
    match (named, Path::new(DEFAULT_SETTINGS_FILE)) {
        (Some(named), _) => (named, text_of(named)),
        (None, default) => (default, or_empty_if_missing(text_of(default))),
    }
}

fn concerns_us(name: &str) -> bool {
    name == FILE_VARIABLE || name.starts_with(VARIABLE_PREFIX)
}

/// Every known key, in the order of `config/agent.toml`: what a walk over nothing asks for.
pub(super) fn known_keys() -> Vec<KnownKeys> {
    let nothing = no_value();
    let mut reader = SettingsReader::new(&nothing);
    read_settings(&mut reader);
    reader.into_known()
}

fn no_value() -> Value {
    Value::new(None, Map::<String, Value>::new())
}

fn text_of(path: &Path) -> io::Result<String> {
    files::read_any_text(path).map(|text| text.to_string())
}

fn or_empty_if_missing(text: io::Result<String>) -> io::Result<String> {
    match text {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => text,
    }
}
