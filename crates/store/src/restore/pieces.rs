//! Which bytes of which frames make the files that are to be written.

use crate::Snapshot;

/// Bytes of a frame that are bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) node: u32,
    /// Where in the file it starts.
    pub(super) file_offset: u64,
    /// Where in the inflated frame it starts.
    pub(super) frame_offset: u32,
    pub(super) bytes: u32,
}

/// What is needed of a frame.
#[derive(Debug, Clone, Default)]
pub(super) struct NeededFrame {
    /// Index of the frame in the snapshot.
    pub(super) frame: u32,
    /// Indices of chunks of the snapshot that lie in it and are needed.
    pub(super) chunks: Vec<u32>,
    pub(super) pieces: Vec<Piece>,
}

/// What has to be read for some files.
#[derive(Debug)]
pub(super) struct Needs {
    /// Frames, by index.
    pub(super) frames: Vec<NeededFrame>,
    /// How many pieces each node consists of, by node.
    pub(super) pieces_of: Vec<u32>,
}

/// Finds out what has to be read to write the nodes for which `is_wanted`. Empty files need nothing.
pub(super) fn find(snapshot: &Snapshot, is_wanted: impl Fn(u32) -> bool) -> Needs {
    let mut frames: Vec<NeededFrame> = (0u32..)
        .take(snapshot.frames().len())
        .map(|frame| NeededFrame {
            frame,
            ..Default::default()
        })
        .collect();
    let nodes = snapshot.tree().nodes();
    let mut pieces_of = vec![0; nodes.len()];
    // The chunk that has the next byte of the stream, and how much of it is behind us.
    let mut chunk_index = 0;
    let mut behind = 0u32;
    for (node, index) in nodes.iter().zip(0u32..) {
        let size_bytes = node.size_bytes();
        let wanted = is_wanted(index);
        let mut file_offset = 0;
        while file_offset < size_bytes {
            // There is one: a snapshot has as many bytes in chunks as in files.
            let chunk = &snapshot.chunks()[chunk_index];
            let bytes = u64::from(chunk.bytes - behind).min(size_bytes - file_offset) as u32;
            if wanted {
                let needed = &mut frames[chunk.frame as usize];
                if needed.chunks.last() != Some(&(chunk_index as u32)) {
                    needed.chunks.push(chunk_index as u32);
                }
                needed.add_piece(
                    Piece {
                        node: index,
                        file_offset,
                        frame_offset: chunk.offset + behind,
                        bytes,
                    },
                    &mut pieces_of[index as usize],
                );
            }
            file_offset += u64::from(bytes);
            behind += bytes;
            if behind == chunk.bytes {
                chunk_index += 1;
                behind = 0;
            }
        }
    }
    frames.retain(|frame| !frame.pieces.is_empty());
    Needs { frames, pieces_of }
}

impl NeededFrame {
    /// Adds a piece, as part of the last one where it continues that.
    fn add_piece(&mut self, piece: Piece, pieces_of_node: &mut u32) {
        if let Some(last) = self.pieces.last_mut()
            && last.node == piece.node
            && last.file_offset + u64::from(last.bytes) == piece.file_offset
            && last.frame_offset + last.bytes == piece.frame_offset
        {
            last.bytes += piece.bytes;
            return;
        }
        *pieces_of_node += 1;
        self.pieces.push(piece);
    }
}
