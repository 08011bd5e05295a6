//! The documents of a new image: its config, made from that of its base, and its manifest.

use serde_json::{Map, Value, json};

use crate::{
    BlobDigest, DiffId, ImageError, Platform, StoredLayer,
    manifest::{media_type, parse},
};

/// A name and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// What is set.
    pub name: String,
    /// To what.
    pub value: String,
}

/// What a new image says otherwise than its base.
#[derive(Debug, Clone, Default)]
pub struct ConfigChange {
    /// The program. Setting it drops the base's command.
    pub entrypoint: Option<Vec<String>>,
    /// The program's arguments, or the program.
    pub command: Option<Vec<String>>,
    /// Environment variables, set beside or over those of the base.
    pub environment: Vec<Pair>,
    /// Where the program starts.
    pub working_folder: Option<String>,
    /// Who runs it.
    pub user: Option<String>,
    /// Free words, set beside or over those of the base.
    pub labels: Vec<Pair>,
    /// `8080/tcp`.
    pub exposed_ports: Vec<String>,
    /// When it was made, in RFC 3339.
    pub created: String,
}

/// A layer that an image has on top of what it keeps.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) diff_id: DiffId,
    /// What history says of it.
    pub(crate) created_by: String,
}

/// A config document: that of the base, if there is one, with its lowest `kept` layers and `steps` on top of them.
#[derive(Debug)]
pub(crate) struct ConfigDocument(Map<String, Value>);

impl ConfigDocument {
    pub(crate) fn of(name: &str, json: &[u8]) -> Result<Self, ImageError> {
        parse(&format!("config of {name}"), json).map(ConfigDocument)
    }

    pub(crate) fn empty(platform: &Platform) -> Self {
        let mut document = Map::new();
        document.insert("os".to_owned(), json!(platform.os));
        document.insert("architecture".to_owned(), json!(platform.architecture));
        if let Some(variant) = &platform.variant {
            document.insert("variant".to_owned(), json!(variant));
        }
        ConfigDocument(document)
    }

    /// Keeps the lowest layers and the steps that made them, and puts others on top. Steps above that made no layer stay.
    pub(crate) fn stack(&mut self, kept: usize, steps: &[Step]) {
        let mut diff_ids: Vec<Value> = match self
            .0
            .get_mut("rootfs")
            .and_then(|rootfs| rootfs.get_mut("diff_ids"))
        {
            Some(Value::Array(diff_ids)) => std::mem::take(diff_ids),
            _ => Vec::new(),
        };
        diff_ids.truncate(kept);
        diff_ids.extend(steps.iter().map(|step| json!(step.diff_id)));
        self.0.insert(
            "rootfs".to_owned(),
            json!({"type": "layers", "diff_ids": diff_ids}),
        );
        let old = match self.0.remove("history") {
            Some(Value::Array(old)) => old,
            _ => Vec::new(),
        };
        let makes_layer = |step: &Value| step.get("empty_layer") != Some(&Value::Bool(true));
        let mut layers = 0;
        let (below, above): (Vec<_>, Vec<_>) = old.into_iter().partition(|step| {
            let is_below = layers < kept;
            layers += usize::from(makes_layer(step));
            is_below
        });
        // A history that tells of some layers only would name the wrong ones.
        let told = below.iter().filter(|step| makes_layer(step)).count();
        let missing = kept - told.min(kept);
        let unknown = (0..missing).map(|_| json!({"created_by": ""}));
        let new = steps.iter().map(|step| json!({"created_by": step.created_by}));
        let above = above.into_iter().filter(|step| !makes_layer(step));
        let history: Vec<_> = below.into_iter().chain(unknown).chain(new).chain(above).collect();
        self.0.insert("history".to_owned(), Value::Array(history));
    }

    pub(crate) fn change(&mut self, change: &ConfigChange) {
        self.0.insert("created".to_owned(), json!(change.created));
        let config = self.0.entry("config").or_insert_with(|| json!({}));
        if !config.is_object() {
            *config = json!({});
        }
        let Value::Object(config) = config else { return };
        if let Some(entrypoint) = &change.entrypoint {
            config.insert("Entrypoint".to_owned(), json!(entrypoint));
            config.remove("Cmd");
        }
        if let Some(command) = &change.command {
            config.insert("Cmd".to_owned(), json!(command));
        }
        for (key, value) in [("WorkingDir", &change.working_folder), ("User", &change.user)] {
            if let Some(value) = value {
                config.insert(key.to_owned(), json!(value));
            }
        }
        set_environment(config, &change.environment);
        let labels = change
            .labels
            .iter()
            .map(|label| (label.name.clone(), json!(label.value)));
        extend_object(config, "Labels", labels);
        let ports = change.exposed_ports.iter().map(|port| (port.clone(), json!({})));
        extend_object(config, "ExposedPorts", ports);
    }

    /// The bytes: keys sorted, no spaces.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        Value::Object(self.0.clone()).to_string().into_bytes()
    }
}

fn set_environment(config: &mut Map<String, Value>, changes: &[Pair]) {
    if changes.is_empty() {
        return;
    }
    let mut variables: Vec<String> = match config.get("Env") {
        Some(Value::Array(old)) => old.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    for Pair { name, value } in changes {
        let line = format!("{name}={value}");
        let is_same = |old: &&mut String| old.split_once('=').is_some_and(|(old, _)| old == name);
        match variables.iter_mut().find(is_same) {
            Some(old) => *old = line,
            None => variables.push(line),
        }
    }
    config.insert("Env".to_owned(), json!(variables));
}

fn extend_object(config: &mut Map<String, Value>, key: &str, pairs: impl Iterator<Item = (String, Value)>) {
    let mut pairs = pairs.peekable();
    if pairs.peek().is_none() {
        return;
    }
    let mut object = match config.remove(key) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    };
    object.extend(pairs);
    config.insert(key.to_owned(), Value::Object(object));
}

/// The manifest of an image with these layers, lowest first.
pub(crate) fn manifest_json<'a>(
    config_json: &[u8],
    layers: impl Iterator<Item = &'a StoredLayer>,
) -> Vec<u8> {
    let layers: Vec<_> = layers
        .map(|layer| {
            json!({
                "mediaType": oci_media_type(&layer.media_type),
                "digest": layer.digest,
                "size": layer.compressed_bytes,
            })
        })
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": BlobDigest::of(config_json),
            "size": config_json.len(),
        },
        "layers": layers,
    });
    manifest.to_string().into_bytes()
}

/// What Docker calls a layer, in OCI's words.
fn oci_media_type(name: &str) -> &str {
    match name {
        "application/vnd.docker.image.rootfs.diff.tar" => media_type::OCI_LAYER,
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => media_type::OCI_LAYER_GZIP,
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => media_type::OCI_LAYER_ZSTD,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(created_by: &str) -> Step {
        Step {
            diff_id: DiffId::of(created_by.as_bytes()),
            created_by: created_by.to_owned(),
        }
    }

    fn history(document: &ConfigDocument) -> Vec<String> {
        let value: Value = serde_json::from_slice(&document.to_json()).unwrap();
        let steps = value["history"].as_array().unwrap().iter();
        steps
            .map(|step| step["created_by"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn history_tells_of_the_layers_there_are() {
        let base = br#"{"os":"linux","rootfs":{"diff_ids":["sha256:1","sha256:2"]},"history":[
            {"created_by":"FROM"},{"created_by":"ENV","empty_layer":true},{"created_by":"RUN"},
            {"created_by":"CMD","empty_layer":true}]}"#;
        let mut document = ConfigDocument::of("x", base).unwrap();
        document.stack(1, &[step("new")]);
        assert_eq!(history(&document), ["FROM", "new", "ENV", "CMD"]);
        let mut silent =
            ConfigDocument::of("x", br#"{"rootfs":{"diff_ids":["sha256:1"]},"history":null}"#).unwrap();
        silent.stack(1, &[step("new")]);
        assert_eq!(history(&silent), ["", "new"]);
    }

    #[test]
    fn a_change_goes_beside_or_over_what_the_base_says() {
        let base = br#"{"config":{"Env":["PATH=/bin","A=1"],"Cmd":["sh"],"Labels":null,"Healthcheck":{"Test":["x"]}}}"#;
        let mut document = ConfigDocument::of("x", base).unwrap();
        let pair = |name: &str, value: &str| Pair {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        document.change(&ConfigChange {
            entrypoint: Some(vec!["node".to_owned()]),
            environment: vec![pair("A", "2"), pair("B", "3")],
            labels: vec![pair("l", "v")],
            ..ConfigChange::default()
        });
        let value: Value = serde_json::from_slice(&document.to_json()).unwrap();
        let expected = json!({"Env": ["PATH=/bin", "A=2", "B=3"], "Entrypoint": ["node"], "Labels": {"l": "v"},
            "Healthcheck": {"Test": ["x"]}});
        assert_eq!(value["config"], expected);
    }
}
