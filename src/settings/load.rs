//! Loading of the settings from a file and the environment.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use config::{Map, Value};

use super::error::{SettingFault, SettingsError};
use super::files;
use super::layer::{SettingsLayer, VARIABLE_PREFIX};
use super::reader::{KnownKey, SettingOrigins, SettingsReader};
use super::schema::read_settings;
use super::sections::Settings;

/// The settings file that is read if none is named.
pub const DEFAULT_SETTINGS_FILE: &str = "/etc/imagestore-agent/agent.toml";

/// The variable that names the settings file if no argument does. An empty value counts as unset.
const FILE_VARIABLE: &str = "IMAGESTORE_AGENT_CONFIG";

/// The use of `server.listen`, which decides whether its addresses must be usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenUse {
    /// The daemon opens the addresses.
    Opened,
    /// The process has inherited sockets in their place, or opens none.
    Replaced,
}

/// The settings, and the origin of each key that is set.
#[derive(Clone, Debug)]
pub struct LoadedSettings {
    /// The settings.
    pub settings: Settings,
    /// The origins.
    pub origins: SettingOrigins,
}

type EnvironmentVariables = BTreeMap<String, String>;

impl Settings {
    /// Returns the built-in defaults.
    pub fn built_in() -> Self {
        read_settings(&mut SettingsReader::new(&empty_tree()), ListenUse::Opened)
    }

    /// Loads the settings from the built-in defaults, the file and the
    /// `IMAGESTORE_AGENT__SECTION__KEY` variables.
    ///
    /// Without `file`, it reads the file that `IMAGESTORE_AGENT_CONFIG` names. Without that, it
    /// reads [`DEFAULT_SETTINGS_FILE`] if it exists. A named file must exist. The call blocks, so
    /// it must run before the runtime starts or on a separate thread.
    ///
    /// # Errors
    /// Returns [`SettingsError`] with every fault, for the operator to correct.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        Self::load_for(ListenUse::Opened, file, env).map(|loaded| loaded.settings)
    }

    /// Loads the settings as [`Settings::load`] does, with the origins of the keys. Addresses that
    /// are not opened may be unusable.
    ///
    /// # Errors
    /// Returns [`SettingsError`] with every fault.
    pub fn load_for(
        listen_use: ListenUse,
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<LoadedSettings, SettingsError> {
        let variables = own_variables(env);
        let (path, text) = read_source(named_file(file, &variables));
        Self::from_layers(listen_use, path, text, &variables)
    }

    /// Loads the settings as [`Settings::load`] does, for a command that can run without the file.
    /// It ignores a file that this user cannot read, and a faulty file that was not named. The
    /// second value of the result is the reason.
    ///
    /// # Errors
    /// Returns [`SettingsError`] with the faults of the remaining layers.
    pub fn load_lenient(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Option<SettingsError>), SettingsError> {
        let variables = own_variables(env);
        let named = named_file(file, &variables);
        let (path, text) = read_source(named);
        let denied = text.as_ref().err().is_some_and(|error| {
            // Only errors with an OS code count: other errors describe the content of the file.
            error.raw_os_error().is_some() && error.kind() != io::ErrorKind::NotFound
        });
        // A command opens no address.
        let load = |text| {
            Self::from_layers(ListenUse::Replaced, path, text, &variables)
                .map(|loaded| loaded.settings)
        };
        match load(text) {
            Err(error) if denied || named.is_none() => {
                load(Ok(String::new())).map(|settings| (settings, Some(error)))
            }
            loaded => loaded.map(|settings| (settings, None)),
        }
    }

    fn from_layers(
        listen_use: ListenUse,
        path: &Path,
        text: io::Result<String>,
        variables: &EnvironmentVariables,
    ) -> Result<LoadedSettings, SettingsError> {
        let origin = path.display().to_string();
        let mut faults = Vec::new();
        let text = text.unwrap_or_else(|error| {
            faults.push(SettingFault {
                key: String::new(),
                value: None,
                problem: format!("cannot be read: {error}"),
                allowed: Some("a readable file of at most 1 MiB in UTF-8".to_owned()),
                origin: Some(origin.clone()),
            });
            String::new()
        });
        Self::from_sources(listen_use, &text, &origin, variables, faults)
    }

    fn from_sources(
        listen_use: ListenUse,
        text: &str,
        origin: &str,
        variables: &EnvironmentVariables,
        mut faults: Vec<SettingFault>,
    ) -> Result<LoadedSettings, SettingsError> {
        let known_keys = known_keys();
        let file = SettingsLayer::from_file(text, origin, &known_keys, &mut faults);
        let environment = SettingsLayer::from_environment(variables, &known_keys, &mut faults);
        let tree = file.merge(environment).unwrap_or_else(|error| {
            faults.push(SettingFault {
                key: String::new(),
                value: None,
                problem: format!("cannot be merged with the environment variables: {error}"),
                allowed: None,
                origin: Some(origin.to_owned()),
            });
            empty_tree()
        });
        let mut reader = SettingsReader::new(&tree);
        let settings = read_settings(&mut reader, listen_use);
        let origins = reader.origins();
        faults.extend(reader.into_faults());
        match faults.is_empty() {
            true => Ok(LoadedSettings { settings, origins }),
            false => Err(SettingsError::new(faults)),
        }
    }
}

/// Returns the settings file that [`Settings::load`] reads.
pub fn settings_file(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> PathBuf {
    let named = named_file(file, &own_variables(env)).map(Path::to_owned);
    named.unwrap_or_else(|| PathBuf::from(DEFAULT_SETTINGS_FILE))
}

/// Returns the variables of this process that [`Settings::load`] uses. Text that is not UTF-8 gets
/// replacement characters, so that it is reported as a fault instead of being ignored.
pub fn environment_variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| is_agent_variable(name))?;
        Some((name, value.to_string_lossy().into_owned()))
    })
}

fn own_variables(env: impl IntoIterator<Item = (String, String)>) -> EnvironmentVariables {
    env.into_iter().filter(|(name, _)| is_agent_variable(name)).collect()
}

fn named_file<'a>(file: Option<&'a Path>, variables: &'a EnvironmentVariables) -> Option<&'a Path> {
    file.or_else(|| variables.get(FILE_VARIABLE).filter(|path| !path.is_empty()).map(Path::new))
}

/// Returns the path of the settings file and its text. The text is empty if the default file does
/// not exist.
fn read_source(named: Option<&Path>) -> (&Path, io::Result<String>) {
    match (named, Path::new(DEFAULT_SETTINGS_FILE)) {
        (Some(named), _) => (named, read_settings_text(named)),
        (None, default) => (default, or_empty_if_missing(read_settings_text(default))),
    }
}

fn is_agent_variable(name: &str) -> bool {
    name == FILE_VARIABLE || name.starts_with(VARIABLE_PREFIX)
}

/// Returns every known key, in the order of `config/agent.toml`, by reading the settings from an
/// empty tree.
pub(super) fn known_keys() -> Vec<KnownKey> {
    let nothing = empty_tree();
    let mut reader = SettingsReader::new(&nothing);
    read_settings(&mut reader, ListenUse::Opened);
    reader.into_known_keys()
}

fn empty_tree() -> Value {
    Value::new(None, Map::<String, Value>::new())
}

fn read_settings_text(path: &Path) -> io::Result<String> {
    files::read_any_text(path).map(|text| text.to_string())
}

fn or_empty_if_missing(text: io::Result<String>) -> io::Result<String> {
    match text {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => text,
    }
}
