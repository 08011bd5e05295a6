"""Images that no tool makes on one day: every kind of tar entry, marker, compression, index and archive.

    python3 handmade.py LAYOUT

Writes an OCI layout with many tags to the folder LAYOUT, the same image in two shapes of `docker save` beside it, and prints a
name for `headstart layers analyze` on each line. Needs GNU tar and zstd.
"""

import gzip
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile

LAYOUT = sys.argv[1]
BLOBS = f"{LAYOUT}/blobs/sha256"
LAYER = "application/vnd.oci.image.layer.v1.tar"
INDEX = []


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def put(data, media_type):
    with open(f"{BLOBS}/{hashlib.sha256(data).hexdigest()}", "wb") as file:
        file.write(data)
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def put_json(value, media_type):
    return put(json.dumps(value).encode(), media_type)


# --- tars --------------------------------------------------------------------------------------------------------------


def tar(*entries, format=tarfile.PAX_FORMAT, mtime=0, uid=0):
    """A tar of (type, name, body or link or device)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as made:
        for kind, name, *rest in entries:
            info = tarfile.TarInfo(name)
            info.mtime, info.uid = mtime, uid
            info.type = {
                "file": tarfile.REGTYPE,
                "hard": tarfile.LNKTYPE,
                "link": tarfile.SYMTYPE,
                "folder": tarfile.DIRTYPE,
                "char": tarfile.CHRTYPE,
                "block": tarfile.BLKTYPE,
                "fifo": tarfile.FIFOTYPE,
            }[kind]
            body = rest[0] if kind == "file" and rest else b""
            if kind in ("hard", "link"):
                info.linkname = rest[0]
            if kind in ("char", "block"):
                info.devmajor, info.devminor = rest[0]
            info.size = len(body)
            made.addfile(info, io.BytesIO(body))
    return out.getvalue()


def file(name, body=b""):
    return ("file", name, body)


def hide(name):
    folder, _, last = name.rpartition("/")
    return file(f"{folder}/.wh.{last}" if folder else f".wh.{last}")


def opaque(folder):
    return file(f"{folder}/.wh..wh..opq")


def sparse_tar(*options):
    """What GNU tar writes of a file with holes, many enough to need more than one header."""
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/holes", "wb") as made:
            for number in range(40):
                made.seek(number * 100_000)
                made.write(b"data %d" % number)
            made.truncate(5_000_000)
        with open(f"{folder}/only-a-hole", "wb") as made:
            made.truncate(70_000)
        with open(f"{folder}/plain", "wb") as made:
            made.write(b"plain")
        command = ["tar", "--sparse", "--sort=name", "--mtime=@0", "-cf", "-", "-C", folder, *options]
        return subprocess.run([*command, "holes", "only-a-hole", "plain"], stdout=subprocess.PIPE, check=True).stdout


# --- compressions ------------------------------------------------------------------------------------------------------


def plain(data):
    return data, LAYER


def gzipped(data, level=6):
    return gzip.compress(data, level, mtime=0), LAYER + "+gzip"


def gzipped_fast(data):
    return gzipped(data, 1)


def members(data):
    """gzip of several members, as of eStargz; an empty one too."""
    pieces = [data[at : at + 700] for at in range(0, len(data), 700)] + [b""]
    return b"".join(gzipped(piece)[0] for piece in pieces), LAYER + "+gzip"


def zstd(data):
    packed = subprocess.run(["zstd", "-cq"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return packed, LAYER + "+zstd"


def frames(data):
    """zstd of several frames, between them some to be skipped."""
    skipped = b"\x51\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"table"
    half = len(data) // 2
    return skipped + zstd(data[:half])[0] + skipped + zstd(data[half:])[0] + skipped, LAYER + "+zstd"


# --- images ------------------------------------------------------------------------------------------------------------


def manifest(layers, history=None, foreign=(), architecture="amd64"):
    """Of layers, each a tar or a pair of a tar and how it is stored."""
    pairs = [layer if isinstance(layer, tuple) else (layer, gzipped) for layer in layers]
    config = {
        "os": "linux",
        "architecture": architecture,
        "rootfs": {"type": "layers", "diff_ids": [digest(data) for data, _ in pairs]},
    }
    if history is not None:
        config["history"] = history
    descriptors = []
    for number, (data, store) in enumerate(pairs):
        stored, media_type = store(data)
        if number in foreign:
            media_type = LAYER.replace("layer.", "layer.nondistributable.") + "+gzip"
            descriptors.append({"mediaType": media_type, "digest": digest(stored), "size": len(stored)})
        else:
            descriptors.append(put(stored, media_type))
    made = {
        "schemaVersion": 2,
        "config": put_json(config, "application/vnd.oci.image.config.v1+json"),
        "layers": descriptors,
    }
    return put_json(made, "application/vnd.oci.image.manifest.v1+json")


def tag(name, descriptor):
    INDEX.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}})


def image(name, *layers, **more):
    tag(name, manifest(layers, **more))


def make_images():
    rich = tar(
        ("folder", "./"),
        ("folder", "./etc/"),
        file("./etc/config", b"old config"),
        file("/absolute", b"absolute"),
        file("a//b/./c", b"unclean"),
        ("hard", "etc/second-name", "./etc/config"),
        ("hard", "third-name", "etc/second-name"),
        ("link", "lib", "usr/lib"),
        ("folder", "usr/lib"),
        file("usr/lib/big", bytes(range(256)) * 400),
        file("usr/lib/twice-here", b"same" * 500),
        file("usr/twice-here", b"same" * 500),
        ("char", "dev/null", (1, 3)),
        ("block", "dev/sda", (8, 0)),
        ("fifo", "run/pipe"),
        file("empty"),
        file(b"not-utf8-\xff\xe9\x80".decode("utf-8", "surrogateescape"), b"bytes"),
        file("in\u00e9/\u65e5\u672c", b"unicode"),
    )
    upper = tar(
        file("etc/config", b"new config, longer"),
        # A parent that is a symbolic link.
        file("lib/added", b"behind a link"),
        ("hard", "lib/big-again", "lib/big"),
        hide("third-name"),
        file("usr/twice-here", b"other"),
    )
    image("rich", rich, upper, history=[{"created_by": "base"}, {"created_by": "ENV", "empty_layer": True}, {}])
    image("rich-plain", (rich, plain), (upper, zstd))
    image("rich-members", (rich, members), (upper, frames))
    image("rich-fast", (rich, gzipped_fast), upper, history=[])

    image(
        "whiteouts",
        tar(
            ("folder", "d"),
            file("d/x", b"1" * 100),
            file("d/y", b"2" * 50),
            ("folder", "e"),
            ("folder", "e/f"),
            file("e/f/z", b"3" * 70),
            ("folder", "g"),
            file("g/a", b"4" * 30),
            file("g/b", b"5" * 20),
            file("single", b"6" * 11),
        ),
        # Markers stand before and behind what their own layer has, which stays.
        tar(("folder", "g"), file("g/new", b"7" * 9), opaque("g"), hide("single"), file("single", b"8" * 12)),
        tar(
            hide("d"),
            hide("e/f"),
            file(".wh..wh.plnk/1.2", b"linked"),
            file(".wh..wh.plnk/3.4", b"not linked"),
            ("hard", "e/linked", ".wh..wh.plnk/1.2"),
            file(".wh..wh.aufs", b"AUFS"),
        ),
        tar(("folder", "d"), file("d/x", b"9" * 13), hide("d/nothing"), opaque("nowhere")),
    )
    image(
        "replaced",
        tar(("folder", "d"), file("d/x", b"1" * 10), file("f", b"2" * 20), ("link", "l", "d"), file("t", b"3" * 30)),
        # A file over a folder, a folder over a file and over a link, a link over a file; with what is below.
        tar(file("d", b"4" * 5), ("folder", "f"), file("f/in", b"5" * 6), ("folder", "l"), ("link", "t", "f")),
        tar(file("f/in/deeper", b"6"), file("t/through", b"7" * 3), hide("l/x")),
    )
    image(
        "repeated",
        tar(
            file("x", b"first"),
            file("./x", b"second!"),
            ("folder", "x2"),
            file("x2/y", b"y"),
            file("x2", b"now a file"),
            ("hard", "alive", "x"),
            file("x", b"third"),
            file("x", b"first"),
        ),
    )
    image(
        "hard-links-below",
        tar(file("a", b"a" * 40), file("b", b"b" * 50)),
        tar(("hard", "kept", "a"), ("hard", "b2", "b"), ("hard", "dangling", "no/such")),
        tar(hide("a"), hide("b"), hide("b2"), file("kept", b"k")),
    )
    image(
        "links",
        tar(
            ("folder", "real/deep"),
            ("link", "one", "real"),
            ("link", "real/two", "../one/deep"),
            ("link", "three", "/../one/two"),
            ("link", "circle", "circle"),
            file("three/file", b"through three links"),
        ),
        tar(file("one/deep/file", b"again"), hide("three/none"), ("hard", "name", "three/file")),
        tar(hide("one/two/file"), opaque("three")),
    )
    long = "/".join(["n" * 90] * 8)
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        names = (file(long, b"long"), ("link", f"{long}-link", long), ("hard", f"{long}-hard", long))
        image(f"long-{format}", tar(*names, file("s" * 100, b"100"), file("p" * 60 + "/" + "q" * 90, b"prefix"), format=format))
    image("v7", tar(file("old", b"ustar"), format=tarfile.USTAR_FORMAT), (tar(file("old", b"newer")), zstd))
    for name, options in {
        "gnu": ["--format=gnu"],
        "pax-0.0": ["--format=pax", "--sparse-version=0.0"],
        "pax-0.1": ["--format=pax", "--sparse-version=0.1"],
        "pax-1.0": ["--format=pax", "--sparse-version=1.0"],
    }.items():
        image(f"sparse-{name}", sparse_tar(*options), tar(file("only-a-hole", bytes(70_000))))

    entries = [("folder", "app"), file("app/a", b"A" * 3000), ("link", "app/l", "a"), ("hard", "app/h", "app/a"), hide("gone")]
    image("near-1", tar(*entries))
    image("near-2", tar(*entries, mtime=1_700_000_000))
    image("near-3", tar(*entries, uid=1000))
    image("near-4", tar(*reversed(entries)))
    image("near-not", tar(*entries[:-1], file("app/m", b"A" * 3000)))
    image("same-layer-twice", tar(*entries), rich, tar(*entries))

    image("no-layers")
    image("empty-layer", tar(), rich)
    image("empty-layers", (tar(), plain), (tar() + bytes(10240), zstd), (tar(), plain))
    image("only-markers", tar(opaque("x"), hide("y")))
    image("foreign", rich, tar(file("elsewhere", b"windows" * 100)), upper, foreign=[1])

    arm = {**manifest([tar(file("arm", b"arm"))], architecture="arm64"), "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}}
    amd = {**manifest([rich, tar(file("amd", b"amd"))]), "platform": {"os": "linux", "architecture": "amd64"}}
    attestation = {**manifest([]), "platform": {"os": "unknown", "architecture": "unknown"}}
    index = {"schemaVersion": 2, "manifests": [attestation, arm, amd]}
    tag("platforms", put_json(index, "application/vnd.oci.image.index.v1+json"))


def make_random_images():
    """Layers of few names, so that everything meets everything. Folders are a, b and c; links never lead in a circle."""
    chance = random.Random(7)
    for number in range(60):
        layers = []
        for _ in range(chance.randint(1, 5)):
            entries = []
            for _ in range(chance.randint(0, 10)):
                folder = "".join(f"{chance.choice('abcl')}/" for _ in range(chance.randint(0, 2)))
                name = folder + chance.choice("abcxyz")
                body = chance.choice([b"", b"1", b"22", b"333"]) * chance.randint(1, 40)
                entries.append(
                    chance.choice(
                        [file(name, body)] * 4
                        + [("folder", name)] * 2
                        + [("hard", name, folder + chance.choice("xyz")), ("link", folder + "l", chance.choice(["/a", "/b", "../c"]))]
                        + [hide(name), opaque(name), ("fifo", name)]
                    )
                )
            layers.append((tar(*entries), chance.choice([plain, gzipped, members, zstd])))
        image(f"random-{number}", *layers)


# --- archives of docker save -------------------------------------------------------------------------------------------


def docker_archives():
    base, top = tar(file("x", b"1" * 1000)), tar(file("x", b"2"), hide("y"))
    diff_ids = [digest(base), digest(top), digest(base)]
    config = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}})

    def listing(layers):
        names = {"Config": "config.json", "RepoTags": ["app:v1"], "Layers": layers}
        return file("manifest.json", json.dumps([names]).encode())

    # The first shape: a folder for each layer; one that is there twice is a link. The manifest comes last.
    old = tar(
        ("folder", "1"),
        file("1/VERSION", b"1.0"),
        file("1/layer.tar", base),
        file("2/layer.tar", top),
        ("link", "3/layer.tar", "../1/layer.tar"),
        file("config.json", config.encode()),
        listing(["1/layer.tar", "2/layer.tar", "3/layer.tar"]),
    )
    # The last: blobs as in a layout, of any compression.
    blobs = [gzipped(base)[0], zstd(top)[0], base]
    paths = ["blobs/sha256/" + digest(blob).removeprefix("sha256:") for blob in blobs]
    new = tar(listing(paths), file("config.json", config.encode()), *map(file, paths, blobs))
    for name, archive in {"old": old, "new": new, "compressed": gzipped(old)[0]}.items():
        path = f"{LAYOUT}-{name}.tar"
        with open(path, "wb") as made:
            made.write(archive)
        yield f"docker-archive:{path}"


os.makedirs(BLOBS)
make_images()
make_random_images()
with open(f"{LAYOUT}/oci-layout", "w") as made:
    json.dump({"imageLayoutVersion": "1.0.0"}, made)
with open(f"{LAYOUT}/index.json", "w") as made:
    json.dump({"schemaVersion": 2, "manifests": INDEX}, made)
for entry in INDEX:
    print(f"oci:{LAYOUT}:{entry['annotations']['org.opencontainers.image.ref.name']}")
for name in docker_archives():
    print(name)
