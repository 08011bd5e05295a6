//! Layers of folders, as the command line names them.

use std::{
    fs,
    io::{self, Read as _},
    path::PathBuf,
};

use headstart_fs::AtPath as _;
use headstart_image::build::{FileLayer, LayerContent, NewLayer};

use crate::error::CommandError;

/// A layer as the command line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LayerArg {
    name: String,
    from: PathBuf,
    to: PathBuf,
    list: Option<PathBuf>,
}

pub(super) fn parse_layer(text: &str) -> Result<LayerArg, String> {
    let wrong = || "a layer is written NAME=DIR:/in/image[@LIST]".to_owned();
    let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
    let (from, to) = rest.rsplit_once(":/").ok_or_else(wrong)?;
    let (to, list) = match to.split_once('@') {
        Some((to, list)) => (to, Some(PathBuf::from(list))),
        None => (to, None),
    };
    if name.is_empty() || from.is_empty() {
        return Err(wrong());
    }
    Ok(LayerArg {
        name: name.to_owned(),
        from: from.into(),
        to: format!("/{to}").into(),
        list,
    })
}

impl LayerArg {
    /// Reads the list; the files themselves are read later.
    pub(super) fn load(&self, is_null_separated: bool) -> Result<NewLayer, CommandError> {
        let listed = match &self.list {
            None => None,
            Some(list) => Some(read_list(list, is_null_separated)?),
        };
        Ok(NewLayer {
            name: self.name.clone(),
            content: LayerContent::Files(FileLayer {
                from: self.from.clone(),
                to: self.to.clone(),
                listed,
            }),
        })
    }
}

fn read_list(path: &PathBuf, is_null_separated: bool) -> Result<Vec<Vec<u8>>, CommandError> {
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
    fn a_layer_names_a_folder_and_maybe_a_list() {
        let layer = parse_layer("deps=node_modules/@scope:/app/x@list.txt").unwrap();
        assert_eq!(layer.from, PathBuf::from("node_modules/@scope"));
        assert_eq!(layer.to, PathBuf::from("/app/x"));
        assert_eq!(layer.list, Some("list.txt".into()));
        assert_eq!(parse_layer("a=.:/").unwrap().to, PathBuf::from("/"));
        for wrong in ["a", "a=b", "=b:/", "a=:/x", "a=b:x"] {
            assert!(parse_layer(wrong).is_err(), "{wrong}");
        }
    }
}
