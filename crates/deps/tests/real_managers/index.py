"""Makes a simple index with two packages: a wheel, and a source distribution that this very file builds."""

import io
import os
import tarfile
import zipfile


def write_wheel(folder, name):
    """A wheel of one empty module, as PEP 427 has it."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: index\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    wheel = f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, wheel), "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return wheel


def build_wheel(folder, config_settings=None, metadata_directory=None):
    """PEP 517: how pip and Poetry have the source distribution built. Needs nothing but Python."""
    return write_wheel(folder, "from_source")


def write_sdist(folder, name):
    """A source distribution that brings this file along to be built by."""
    project = f'[project]\nname = "{name}"\nversion = "1.0"\n'
    system = '[build-system]\nrequires = []\nbuild-backend = "index"\nbackend-path = ["."]\n'
    with open(__file__) as backend:
        files = {
            "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            "pyproject.toml": project + system,
            "index.py": backend.read(),
        }
    sdist = f"{name}-1.0.tar.gz"
    with tarfile.open(os.path.join(folder, sdist), "w:gz") as archive:
        for file, text in files.items():
            member = tarfile.TarInfo(f"{name}-1.0/{file}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return sdist


if __name__ == "__main__":
    os.makedirs("files")
    packages = {
        "from-wheel": write_wheel("files", "from_wheel"),
        "from-source": write_sdist("files", "from_source"),
    }
    for name, file in packages.items():
        os.makedirs(f"simple/{name}")
        with open(f"simple/{name}/index.html", "w") as page:
            page.write(f'<!DOCTYPE html>\n<a href="/files/{file}">{file}</a>\n')
