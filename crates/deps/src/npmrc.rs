//! `.npmrc`: the settings npm and pnpm share.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    DepsError, KeyInput,
    files::{self, MAX_CONFIG_BYTES},
    key::InputKind,
    project::Project,
};

/// Settings by name, the strongest source first: environment, project, user.
pub(crate) struct Npmrc {
    env: BTreeMap<String, String>,
    project: BTreeMap<String, String>,
    user: BTreeMap<String, String>,
}

impl Npmrc {
    pub(crate) fn load(project: &Project<'_>) -> Result<Self, DepsError> {
        let env = project
            .host
            .env
            .iter()
            .filter_map(|(name, value)| {
                let name = name.to_str()?.to_lowercase();
                let name = name.strip_prefix("npm_config_")?.replace('_', "-");
                Some((name, value.to_str()?.to_owned()))
            })
            .collect();
        let user = project
            .host
            .npm_config_folder("userconfig")
            .unwrap_or_else(|| project.host.home.join(".npmrc"));
        Ok(Npmrc {
            env,
            project: load(project.path(".npmrc"))?,
            user: load(user)?,
        })
    }

    /// A setting's value.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        [&self.env, &self.project, &self.user]
            .into_iter()
            .find_map(|source| source.get(name))
            .map(String::as_str)
    }

    /// A setting's value where the user or the environment set it: what a repository says is not trusted with it.
    pub(crate) fn get_trusted(&self, name: &str) -> Option<&str> {
        self.env
            .get(name)
            .or_else(|| self.user.get(name))
            .map(String::as_str)
    }

    /// Those of `names` that are set, as inputs.
    pub(crate) fn inputs<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = KeyInput> + 'a {
        names
            .iter()
            .filter_map(|name| Some(KeyInput::new(InputKind::Setting, *name, self.get(name)?)))
    }
}

/// Parses the `ini` dialect as far as the settings we ask for need: `name = value`, lists as `name[] = value`.
fn load(path: PathBuf) -> Result<BTreeMap<String, String>, DepsError> {
    let mut settings = BTreeMap::<String, String>::new();
    for line in files::read_text(&path, MAX_CONFIG_BYTES)?
        .unwrap_or_default()
        .lines()
    {
        let line = line.trim();
        if line.starts_with(['#', ';', '[']) {
            continue;
        }
        let (name, value) = line.split_once('=').unwrap_or((line, "true"));
        let value = value.trim().trim_matches('"');
        match name.trim().strip_suffix("[]") {
            Some(name) => {
                let list = settings.entry(name.trim().to_owned()).or_default();
                list.push_str(value);
                list.push(',');
            }
            None => {
                settings.insert(name.trim().to_owned(), value.to_owned());
            }
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sandbox;

    #[test]
    fn the_environment_beats_the_project_and_the_project_the_user() {
        let mut sandbox = Sandbox::new();
        sandbox.write(
            ".npmrc",
            "; comment\nomit[]=dev\nomit[] = optional\nnode-linker=\"hoisted\"\ncache=/repo\n",
        );
        sandbox.write_home(
            ".npmrc",
            "node-linker=isolated\nignore-scripts=true\ncache = /user\n",
        );
        sandbox.set_env("NPM_CONFIG_IGNORE_SCRIPTS", "false");
        sandbox.project("", |project| {
            let npmrc = Npmrc::load(project).unwrap();
            assert_eq!(npmrc.get("omit"), Some("dev,optional,"));
            assert_eq!(npmrc.get("node-linker"), Some("hoisted"));
            assert_eq!(npmrc.get("ignore-scripts"), Some("false"));
            assert_eq!(npmrc.get_trusted("cache"), Some("/user"));
            assert_eq!(npmrc.inputs(&["omit", "optional"]).count(), 1);
        });
    }
}
