//! Layers of folders, as the command line names them.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use headstart_fs::AtPath as _;
use headstart_image::build::{FileLayer, LayerContent, NewLayer};

use crate::error::CommandError;

/// A layer as the command line names it: `NAME=DIR:/in/image`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LayerArg {
    name: String,
    from: PathBuf,
    to: PathBuf,
}

/// Which files of a layer's folder are meant: `NAME=LIST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListArg {
    layer: String,
    list: PathBuf,
}

pub(super) fn parse_layer(text: &str) -> Result<LayerArg, String> {
    let wrong = || "a layer is written NAME=DIR:/in/image".to_owned();
    let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
    let (from, to) = rest.rsplit_once(":/").ok_or_else(wrong)?;
    if name.is_empty() || from.is_empty() {
        return Err(wrong());
    }
    Ok(LayerArg {
        name: name.to_owned(),
        from: from.into(),
        to: format!("/{to}").into(),
    })
}

pub(super) fn parse_list(text: &str) -> Result<ListArg, String> {
    match text.split_once('=') {
        Some((layer, list)) if !layer.is_empty() && !list.is_empty() => Ok(ListArg {
            layer: layer.to_owned(),
            list: list.into(),
        }),
        _ => Err("a list is written NAME=LIST, with the name of a layer".to_owned()),
    }
}

/// Reads the lists; the files themselves are read later.
pub(super) fn load_layers(
    layers: &[LayerArg],
    lists: &[ListArg],
    is_null_separated: bool,
) -> Result<Vec<NewLayer>, CommandError> {
    let mut contents: HashMap<&str, Vec<Vec<u8>>> = HashMap::new();
    for ListArg { layer, list } in lists {
        match layers.iter().filter(|named| named.name == *layer).count() {
            0 => {
                let sentence = format!("--files {layer}={} names no --layer", list.display());
                return Err(CommandError::usage(sentence));
            }
            1 => {}
            _ => return Err(CommandError::usage(format!("two layers are called {layer}"))),
        }
        if contents
            .insert(layer, read_list(list, is_null_separated)?)
            .is_some()
        {
            return Err(CommandError::usage(format!("layer {layer} has two lists")));
        }
    }
    let layers = layers.iter().map(|layer| NewLayer {
        name: layer.name.clone(),
        content: LayerContent::Files(FileLayer {
            from: layer.from.clone(),
            to: layer.to.clone(),
            listed: contents.remove(&*layer.name),
        }),
    });
    Ok(layers.collect())
}

fn read_list(path: &Path, is_null_separated: bool) -> Result<Vec<Vec<u8>>, CommandError> {
    let list = match path.to_str() {
        Some("-") => {
            let mut list = Vec::new();
            io::stdin().read_to_end(&mut list).at("read", "stdin")?;
            list
        }
        _ => fs::read(path).at("read", path)?,
    };
    let end = if is_null_separated { 0 } else { b'\n' };
    let paths = list.split(|&byte| byte == end).filter(|path| !path.is_empty());
    Ok(paths.map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_names_a_folder_and_where_it_goes() {
        let layer = parse_layer("deps=nm/@scope:/app/@scope").unwrap();
        assert_eq!(layer.from, PathBuf::from("nm/@scope"));
        assert_eq!(layer.to, PathBuf::from("/app/@scope"));
        assert_eq!(parse_layer("a=.:/").unwrap().to, PathBuf::from("/"));
        for wrong in ["a", "a=b", "=b:/", "a=:/x", "a=b:x"] {
            assert!(parse_layer(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_is_of_one_layer() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("a=b");
        fs::write(&file, "x\n\ny\n").unwrap();
        let list = parse_list(&format!("deps={}", file.display())).unwrap();
        for wrong in ["deps", "deps=", "=list"] {
            assert!(parse_list(wrong).is_err(), "{wrong}");
        }
        let layer = |name: &str| parse_layer(&format!("{name}=.:/")).unwrap();
        let load = |layers: &[LayerArg], lists: &[ListArg]| load_layers(layers, lists, false);
        let loaded = load(&[layer("app"), layer("deps")], std::slice::from_ref(&list)).unwrap();
        let listed = loaded.iter().map(|layer| match &layer.content {
            LayerContent::Files(files) => files.listed.clone(),
            LayerContent::Jar { .. } => panic!("{layer:?}"),
        });
        let expected = vec![b"x".to_vec(), b"y".to_vec()];
        assert_eq!(listed.collect::<Vec<_>>(), [None, Some(expected)]);
        assert!(load(&[layer("app")], std::slice::from_ref(&list)).is_err());
        assert!(load(&[layer("deps"), layer("deps")], std::slice::from_ref(&list)).is_err());
        assert!(load(&[layer("deps")], &[list.clone(), list]).is_err());
    }
}
