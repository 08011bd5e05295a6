"""What `headstart layers analyze --json` must say, computed slowly from the definitions of docs/guide/layers.md.

    python3 reference.py IMAGE... [--have IMAGE] [--platform OS/ARCH]

IMAGE is oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:TAG]. Shares no line with headstart: tars are read by
Python's tarfile, zstd by its own program. Everything is held in memory, and nothing is made fast.
"""

import argparse
import gzip
import hashlib
import io
import json
import subprocess
import tarfile

REF_NAME = "org.opencontainers.image.ref.name"
PLAIN = "application/vnd.oci.image.layer.v1.tar"


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


# --- where the bytes are -----------------------------------------------------------------------------------------------


class Folder:
    def __init__(self, path):
        self.path = path

    def read(self, name):
        with open(f"{self.path}/{name}", "rb") as file:
            return file.read()


class Archive:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.tar = tarfile.open(fileobj=io.BytesIO(unpack(file.read())[0]))

    def read(self, name):
        return self.tar.extractfile(name).read()


def unpack(data):
    """The bytes without compression, and what they were compressed by."""
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data), PLAIN + "+gzip"
    is_skippable = len(data) > 4 and data[0] & 0xF0 == 0x50 and data[1:4] == b"\x2a\x4d\x18"
    if data[:4] == b"\x28\xb5\x2f\xfd" or is_skippable:
        done = subprocess.run(["zstd", "-dcq", "--long=31"], input=data, stdout=subprocess.PIPE, check=True)
        return done.stdout, PLAIN + "+zstd"
    return data, PLAIN


# --- images ------------------------------------------------------------------------------------------------------------


class Image:
    """A list of (digest, diff ID, media type, stored bytes or None, stored length), and what names them."""

    def __init__(self, reference, platform):
        self.reference = reference
        kind, place = reference.split(":", 1)
        place, _, tag = place.partition(":")
        if kind == "docker-archive":
            self.open_docker(Archive(place), tag)
        else:
            self.open_oci(Archive(place) if kind == "oci-archive" else Folder(place), tag, platform)

    def open_docker(self, files, tag):
        images = json.loads(files.read("manifest.json"))
        [image] = [image for image in images if not tag or any(name.endswith(tag) for name in image["RepoTags"])]
        config = files.read(image["Config"])
        self.digest = sha256(config)
        self.document_bytes = len(config)
        self.config = json.loads(config)
        self.blobs = []
        for name, diff_id in zip(image["Layers"] or [], self.diff_ids(), strict=True):
            data = files.read(name)
            self.blobs.append((sha256(data), diff_id, unpack(data)[1], data, len(data)))

    def open_oci(self, files, tag, platform):
        def blob(digest):
            data = files.read("blobs/sha256/" + digest.removeprefix("sha256:"))
            assert sha256(data) == digest
            return data

        def platform_of(entry):
            of = entry.get("platform")
            return of and f"{of['os']}/{of['architecture']}"

        entries = json.loads(files.read("index.json"))["manifests"]
        [entry] = [entry for entry in entries if not tag or entry.get("annotations", {}).get(REF_NAME) == tag]
        data = blob(entry["digest"])
        self.document_bytes = len(data)
        if "manifests" in json.loads(data):
            [entry] = [entry for entry in json.loads(data)["manifests"] if platform_of(entry) == platform]
            data = blob(entry["digest"])
            self.document_bytes += len(data)
        manifest = json.loads(data)
        config = blob(manifest["config"]["digest"])
        self.digest = entry["digest"]
        self.document_bytes += len(config)
        self.config = json.loads(config)
        self.blobs = []
        for layer, diff_id in zip(manifest["layers"], self.diff_ids(), strict=True):
            try:
                data = blob(layer["digest"])
            except FileNotFoundError:
                assert "nondistributable" in layer["mediaType"] or "foreign" in layer["mediaType"]
                data = None
            self.blobs.append((layer["digest"], diff_id, layer["mediaType"], data, layer["size"]))

    def diff_ids(self):
        return self.config["rootfs"]["diff_ids"] or []

    def read_layers(self, known):
        self.layers = []
        chain = None
        steps = [step for step in self.config.get("history") or [] if not step.get("empty_layer")]
        for number, (digest, diff_id, media_type, data, size) in enumerate(self.blobs):
            chain = sha256(f"{chain} {diff_id}".encode()) if chain else diff_id
            if data is not None and diff_id not in known:
                known[diff_id] = read_tar(unpack(data)[0])
                assert known[diff_id].diff_id == diff_id
            layer = known.get(diff_id) if data is not None else None
            step = steps[number].get("created_by", "") if number < len(steps) else None
            self.layers.append(Stored(digest, diff_id, chain, media_type, size, layer, step))


class Stored:
    """A layer of an image. `tar` is None when its bytes are elsewhere."""

    def __init__(self, digest, diff_id, chain_id, media_type, size, tar, step):
        self.digest, self.diff_id, self.chain_id = digest, diff_id, chain_id
        self.media_type, self.size, self.tar, self.step = media_type, size, tar, step

    def row(self):
        files = [entry for entry in self.entries() if entry.kind == "file"]
        markers = [entry for entry in self.entries() if entry.kind in ("whiteout", "opaque")]
        return {
            "digest": self.digest,
            "diff_id": self.diff_id,
            "chain_id": self.chain_id,
            "media_type": self.media_type,
            "compressed_bytes": self.size,
            "tar_bytes": self.tar.length if self.tar else 0,
            "file_bytes": sum(entry.size for entry in files),
            "files": len(files),
            "whiteouts": len(markers),
            "created_by": self.step,
            "foreign": self.tar is None,
        }

    def entries(self):
        return self.tar.entries if self.tar else []


# --- tars --------------------------------------------------------------------------------------------------------------


class Tar:
    def __init__(self, diff_id, length, entries):
        self.diff_id, self.length, self.entries = diff_id, length, entries


class Entry:
    """`kind` is file, hard link, symlink, folder, char, block, fifo, whiteout or opaque; `path` a tuple of names, of a marker
    that of what it hides; `said` the link or the numbers of a device."""

    def __init__(self, kind, path, size=0, content=None, said=None):
        self.kind, self.path, self.size, self.content, self.said = kind, path, size, content, said

    def bytes(self):
        return self.size if self.kind == "file" else 0


def parts(name):
    """The names of a path; `..` goes up."""
    found = []
    for part in name.encode("utf-8", "surrogateescape").split(b"/"):
        if part == b"..":
            found.pop()
        elif part not in (b"", b"."):
            found.append(part)
    return tuple(found)


def is_aufs(name):
    return name.startswith(b".wh..wh.") and name != b".wh..wh..opq"


def read_tar(data):
    entries = []
    # What AUFS put aside: hard links lead to it.
    aside = {}
    # Some tools do not close their tars: tarfile wants an end.
    with tarfile.open(fileobj=io.BytesIO(data + bytes(1024)), mode="r:") as tar:
        for member in tar:
            path = parts(member.name)
            name = path[-1] if path else b""
            if name == b".wh..wh..opq":
                entries.append(Entry("opaque", path[:-1]))
            elif any(map(is_aufs, path)):
                if member.isreg() and path[:-1] == (b".wh..wh.plnk",):
                    aside[path] = tar.extractfile(member).read()
            elif name.startswith(b".wh."):
                entries.append(Entry("whiteout", path[:-1] + (name.removeprefix(b".wh."),)))
            elif member.isreg() or member.islnk() and parts(member.linkname) in aside:
                body = tar.extractfile(member).read() if member.isreg() else aside[parts(member.linkname)]
                entries.append(Entry("file", path, len(body), sha256(body)))
            elif member.islnk():
                entries.append(Entry("hard link", path, said=parts(member.linkname)))
            elif member.issym():
                target = member.linkname.encode("utf-8", "surrogateescape")
                entries.append(Entry("symlink", path, said=target))
            elif member.isdir():
                entries.append(Entry("folder", path))
            elif member.isfifo():
                entries.append(Entry("fifo", path))
            else:
                kind = "char" if member.ischr() else "block"
                entries.append(Entry(kind, path, said=(member.devmajor, member.devminor)))
    return Tar(sha256(data), len(data), entries)


# --- the file system that layers make ----------------------------------------------------------------------------------


class Inode:
    """What is no folder. `names` is how many paths lead to it."""

    def __init__(self, entry, layer):
        self.entry, self.layer, self.names = entry, layer, 1


class FileSystem:
    """Paths (tuples of names) to None, for a folder, or to an inode."""

    def __init__(self, layers):
        self.nodes = {(): None}
        self.below = {(): set()}
        self.wasted = []
        self.inodes = []
        for number, layer in enumerate(layers):
            self.apply(number, layer.entries())

    def apply(self, number, entries):
        self.number = number
        own_folders = {entry.path for entry in entries if entry.kind == "folder"}
        for entry in entries:
            if entry.kind == "whiteout":
                folder = self.resolve(entry.path[:-1], own_folders)
                if folder is not None:
                    self.remove(folder + entry.path[-1:], "whiteout")
            elif entry.kind == "opaque":
                folder = self.resolve(entry.path, own_folders)
                if folder is not None and self.is_folder(folder):
                    for name in list(self.below[folder]):
                        self.remove(folder + (name,), "opaque")
        for entry in entries:
            if entry.kind not in ("whiteout", "opaque"):
                self.add(entry)

    def is_folder(self, path):
        return path in self.nodes and self.nodes[path] is None

    def resolve(self, path, own_folders=(), hops=0):
        """Follows symbolic links in all of `path`, inside of the image. None where a marker's layer has a folder instead."""
        assert hops <= 40
        real = ()
        for number, name in enumerate(path):
            if name == b"..":
                real = real[:-1]
            elif name not in (b"", b"."):
                inode = self.nodes.get(real + (name,))
                if inode and inode.entry.kind == "symlink":
                    if hops == 0 and path[: number + 1] in own_folders:
                        return None
                    target = inode.entry.said
                    start = () if target.startswith(b"/") else real
                    whole = start + tuple(target.split(b"/")) + path[number + 1 :]
                    return self.resolve(whole, (), hops + 1)
                real += (name,)
        return real

    def add(self, entry):
        inode = None
        if entry.kind == "hard link":
            target = self.resolve(entry.said[:-1]) + entry.said[-1:] if entry.said else ()
            inode = self.nodes.get(target)
            if inode:
                inode.names += 1
        if entry.kind != "folder" and not inode:
            inode = Inode(entry, self.number)
            self.inodes.append(inode)
        if not entry.path:
            if inode:
                self.unlink(inode, "replaced")
            return
        folder = self.resolve(entry.path[:-1])
        for length in range(1, len(folder) + 1):
            if not self.is_folder(folder[:length]):
                self.put(folder[:length], None)
        path = folder + entry.path[-1:]
        if inode or not self.is_folder(path):
            self.put(path, inode)

    def put(self, path, inode):
        self.remove(path, "replaced" if self.is_folder(path) else "overwritten")
        self.nodes[path] = inode
        self.below[path[:-1]].add(path[-1])
        if inode is None:
            self.below[path] = set()

    def remove(self, path, how):
        if path not in self.nodes:
            return
        inode = self.nodes.pop(path)
        self.below[path[:-1]].remove(path[-1])
        if inode:
            self.unlink(inode, how)
        else:
            for name in list(self.below[path]):
                self.remove(path + (name,), how)
            del self.below[path]

    def unlink(self, inode, how):
        inode.names -= 1
        if inode.names == 0 and inode.entry.bytes() > 0:
            how = "repeated" if inode.layer == self.number else how
            self.wasted.append((inode.entry, inode.layer, self.number, how))

    def visible_bytes(self):
        visible = {id(inode): inode for inode in self.nodes.values() if inode}
        return sum(inode.entry.bytes() for inode in visible.values())


# --- dive --------------------------------------------------------------------------------------------------------------


class DiveNode:
    def __init__(self):
        self.children, self.size, self.is_folder = {}, 0, False


def dive_tree(entries):
    root = DiveNode()
    for entry in entries:
        # A marker of an opaque folder makes the folder, and nothing in it.
        path = entry.path[:-1] + (b".wh." + entry.path[-1],) if entry.kind == "whiteout" else entry.path
        node = dive_make(root, path)
        if path and entry.kind != "opaque":
            node.size, node.is_folder = entry.bytes(), entry.kind == "folder"
    return root


def dive_make(root, path):
    for name in path:
        root = root.children.setdefault(name, DiveNode())
    return root


def dive_find(root, path):
    for name in path:
        root = root and root.children.get(name)
    return root


def dive_size(node):
    return node.size + sum(dive_size(child) for child in node.children.values())


def dive_walk(node, path=()):
    """Children before their parent, in the order of their names; not the root."""
    for name in sorted(node.children):
        yield from dive_walk(node.children[name], path + (name,))
    if path:
        yield node, path


def dive(layers):
    """Its score, its wasted bytes and their part in all layers but the first."""
    stacked = DiveNode()
    found = {}
    for layer in layers:
        tree = dive_tree(layer.entries())
        for node, path in dive_walk(tree):
            if node.children:
                continue
            size = node.size
            if path[-1].startswith(b".wh."):
                path = path[:-1] + (path[-1].removeprefix(b".wh."),)
                hidden = dive_find(stacked, path)
                if not hidden:
                    continue
                size = dive_size(hidden) if hidden.is_folder else 0
            found.setdefault(path, []).append(size)
        for node, path in dive_walk(tree):
            name = path[-1].removeprefix(b".wh.")
            if name != path[-1]:
                folder = dive_find(stacked, path[:-1])
                if folder:
                    folder.children.pop(name, None)
            else:
                copy = dive_make(stacked, path)
                copy.size, copy.is_folder = node.size, node.is_folder
    everything = sum(sum(sizes) for sizes in found.values())
    smallest = sum(min(sizes) for sizes in found.values())
    wasted = sum(sum(sizes) for sizes in found.values() if len(sizes) > 1)
    upper = sum(entry.bytes() for layer in layers[1:] for entry in layer.entries())
    return (smallest / everything if everything else 1.0), wasted, (wasted / upper if upper else 0.0)


# --- the document ------------------------------------------------------------------------------------------------------


def text(path):
    return b"/".join(path).decode("utf-8", "replace")


def image_row(image):
    tree = FileSystem(image.layers)
    file_bytes = sum(entry.bytes() for layer in image.layers for entry in layer.entries())
    visible = tree.visible_bytes()
    wasted = sorted(tree.wasted, key=lambda row: (-row[0].size, b"/".join(row[0].path), row[1]))
    score, dive_wasted, dive_ratio = dive(image.layers)
    foreign = [layer for layer in image.layers if layer.tar is None]
    return {
        "reference": image.reference,
        "digest": image.digest,
        "compressed_bytes": sum(layer.size for layer in image.layers),
        "document_bytes": image.document_bytes,
        "file_bytes": file_bytes,
        "visible_bytes": visible,
        "wasted_bytes": file_bytes - visible,
        "efficiency": visible / file_bytes if file_bytes else 1.0,
        "dive_efficiency": score,
        "dive_wasted_bytes": dive_wasted,
        "dive_user_wasted_ratio": dive_ratio,
        "foreign_layers": len(foreign),
        "foreign_bytes": sum(layer.size for layer in foreign),
        "layers": [layer.row() for layer in image.layers],
        "wasted_file_count": len(wasted),
        "wasted_files": [
            {"path": text(entry.path), "bytes": entry.size, "added_by": added, "hidden_by": hidden, "how": how}
            for entry, added, hidden, how in wasted[:100]
        ],
    }


def fleet_row(images):
    refs = [layer for image in images for layer in image.layers]
    size = {layer.digest: layer.size for layer in refs}
    users = {digest: sum(any(layer.digest == digest for layer in image.layers) for image in images) for digest in size}
    shared = [digest for digest in size if users[digest] >= 2]
    digests_of = {}
    for layer in refs:
        digests_of.setdefault(layer.diff_id, set()).add(layer.digest)
    tars = {layer.diff_id: layer.tar for layer in refs if layer.tar}

    # Of each content, the paths by layer.
    contents = {}
    for diff_id, tar in tars.items():
        for entry in tar.entries:
            if entry.bytes() > 0:
                places = contents.setdefault((entry.content, entry.size), {})
                places.setdefault(diff_id, []).append(entry.path)
    duplicates = [(content, length, places) for (content, length), places in contents.items() if len(places) > 1]
    # Equal ones stay as they were found.
    duplicates.sort(key=lambda row: -row[1] * (len(row[2]) - 1))

    same_entries = {}
    for diff_id, tar in tars.items():
        entries = frozenset((entry.path, entry.kind, entry.size, entry.content, entry.said) for entry in tar.entries)
        same_entries.setdefault(entries, []).append(diff_id)
    return {
        "images": len(images),
        "layer_refs": len(refs),
        "unique_layers": len(size),
        "unique_diff_ids": len(digests_of),
        "compressed_bytes": sum(layer.size for layer in refs),
        "unique_compressed_bytes": sum(size.values()),
        "shared_layers": len(shared),
        "shared_layer_bytes": sum(size[digest] for digest in shared),
        "saved_by_sharing_bytes": sum(size[digest] * (users[digest] - 1) for digest in shared),
        "cross_layer_duplicate_bytes": sum(length * (len(places) - 1) for _, length, places in duplicates),
        "within_layer_duplicate_bytes": sum(
            length * (len(paths) - 1) for (_, length), places in contents.items() for paths in places.values()
        ),
        "unique_content_bytes": sum(length for _, length in contents),
        "recompressed_twins": [sorted(twins) for _, twins in sorted(digests_of.items()) if len(twins) > 1],
        "near_twins": sorted(sorted(twins) for twins in same_entries.values() if len(twins) > 1),
        "duplicates": [
            {
                "size_bytes": length,
                "extra_bytes": length * (len(places) - 1),
                "layers": len(places),
                "places": [{"diff_id": diff_id, "path": text(paths[0])} for diff_id, paths in places.items()],
            }
            for _, length, places in duplicates[:100]
        ],
    }


def pull(image, present):
    missing = {layer.digest: layer.size for layer in image.layers if layer.digest not in present}
    return sum(missing.values()) + image.document_bytes


def digests(*images):
    return {layer.digest for image in images for layer in image.layers}


def pull_rows(images, have):
    rows = []
    for image in images:
        rows.append({"image": image.reference, "have": [], "bytes": pull(image, ())})
        for other in images:
            if other is not image:
                rows.append({"image": image.reference, "have": [other.reference], "bytes": pull(image, digests(other))})
    names = [image.reference for image in have]
    if have:
        rows += [{"image": image.reference, "have": names, "bytes": pull(image, digests(*have))} for image in images]
    return rows


def rollout_rows(images):
    return [
        {"image": image.reference, "bytes": pull(image, digests(*images[:number]))}
        for number, image in enumerate(images)
    ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("images", nargs="+")
    parser.add_argument("--have", action="append", default=[])
    parser.add_argument("--platform", default="linux/amd64")
    args = parser.parse_args()
    known = {}
    images = [Image(name, args.platform) for name in args.images]
    have = [Image(name, args.platform) for name in args.have]
    for image in images + have:
        image.read_layers(known)
    document = {
        "schema": "headstart.layers/1",
        "images": [image_row(image) for image in images],
        "fleet": fleet_row(images),
        "pulls": pull_rows(images, have),
        "rollout": rollout_rows(images),
    }
    if have:
        document["have"] = [
            {"reference": image.reference, "layers": [layer.digest for layer in image.layers]} for image in have
        ]
    print(json.dumps(document))


if __name__ == "__main__":
    main()
