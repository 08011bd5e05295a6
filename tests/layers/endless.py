"""An image of layers of very many entries.

    python3 endless.py LAYOUT LAYERS ENTRIES LENGTH

LENGTH is that of each path. Nothing is unpacked or kept: tars are made as they are compressed.
"""

import gzip
import hashlib
import json
import os
import sys
import tarfile

layout, layers, entries, length = sys.argv[1], *map(int, sys.argv[2:])
blobs = f"{layout}/blobs/sha256"
os.makedirs(blobs)


def put_json(value):
    data = json.dumps(value).encode()
    digest = hashlib.sha256(data).hexdigest()
    with open(f"{blobs}/{digest}", "wb") as file:
        file.write(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def put_layer(number):
    """A layer of empty files: only digits differ from entry to entry, and the checksums of plain headers."""
    digits = f"{number}{'q' * 8}"
    info = tarfile.TarInfo(digits.ljust(length, "n"))
    header = bytearray(info.tobuf(tarfile.PAX_FORMAT))
    places = []
    at = header.find(digits.encode())
    while at >= 0:
        places.append(at)
        at = header.find(digits.encode(), at + 1)
    tar = hashlib.sha256()
    with open(f"{blobs}/new", "wb") as file, gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, mtime=0) as packed:

        def write(data):
            tar.update(data)
            packed.write(data)

        for start in range(0, entries, 1000):
            chunk = bytearray()
            for entry in range(start, min(entries, start + 1000)):
                for at in places:
                    header[at + len(digits) - 8 : at + len(digits)] = b"%08d" % entry
                    block = at - at % 512
                    if header[block + 257 : block + 262] == b"ustar":
                        header[block + 148 : block + 156] = b" " * 8
                        header[block + 148 : block + 156] = b"%06o\0 " % sum(header[block : block + 512])
                chunk += header
            write(chunk)
        write(bytes(1024))
    with open(f"{blobs}/new", "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    os.rename(f"{blobs}/new", f"{blobs}/{digest}")
    blob = {"digest": f"sha256:{digest}", "size": os.path.getsize(f"{blobs}/{digest}")}
    return blob, f"sha256:{tar.hexdigest()}"


made = [put_layer(number) for number in range(layers)]
config = put_json(
    {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in made]}}
)
manifest = put_json({"schemaVersion": 2, "config": config, "layers": [blob for blob, _ in made]})
with open(f"{layout}/index.json", "w") as index:
    json.dump({"schemaVersion": 2, "manifests": [manifest]}, index)
