"""Racing programs side by side: runs, statistics, tables. Python's standard library only.

Rules of every race: contestants take turns within a round, so that a slow minute of the machine hits all of them; every run gets a
folder that never existed; nothing is deleted while the race lasts (deleting many files makes ext4 create files several times
slower for a while); dirty pages are written back before each start, so that nobody pays for somebody else's writes.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


@dataclasses.dataclass
class Sample:
    """One run: wall and CPU seconds, peak memory in bytes, and what the program printed."""

    wall: float
    cpu: float
    peak_bytes: int
    stdout: str
    facts: dict


# Runs in an interpreter of its own for each sample: a child counts the memory of the process it was forked from as its own peak, and
# this one grows large. Writes seconds and bytes (ru_maxrss counts KiB) to the file descriptor named first.
MEASURE = """
import json, os, subprocess, sys, time
start = time.monotonic()
child = subprocess.Popen(sys.argv[2:], close_fds=True)
_, status, usage = os.wait4(child.pid, 0)
wall = time.monotonic() - start
child.returncode = os.waitstatus_to_exitcode(status)
facts = [wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, child.returncode]
os.write(int(sys.argv[1]), json.dumps(facts).encode())
"""


def run(command, prefix=(), **options):
    """Runs `command` (a list, or a string for the shell) and measures it; its failure ends the bench. `prefix` starts the interpreter
    that measures, for example in another network namespace; it is not part of what is measured."""
    shell = isinstance(command, str)
    argv = ["bash", "-o", "pipefail", "-c", command] if shell else [str(word) for word in command]
    read, write = os.pipe()
    measure = [*prefix, sys.executable, "-I", "-S", "-c", MEASURE, str(write), *argv]
    os.sync()
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(measure, **pipes, pass_fds=[write], start_new_session=True, **options) as measuring:
        os.close(write)
        try:
            stdout, stderr = measuring.communicate()
        except BaseException:
            # A bench that is stopped leaves no contestant behind.
            os.killpg(measuring.pid, signal.SIGKILL)
            raise
    with open(read, "rb") as pipe:
        wall, cpu, peak_bytes, code = json.loads(pipe.read() or b"[0, 0, 0, -1]")
    if code != 0:
        sys.exit(f"error: {command} ended with {code}:\n{stderr.decode(errors='replace')}")
    return Sample(wall, cpu, peak_bytes, stdout.decode(errors="replace"), {})


def race(contestants, rounds, log):
    """Runs every contestant once per round, in an order that rotates. `contestants` maps a name to a function of the round that
    answers a Sample. Answers the samples by name."""
    names = list(contestants)
    samples = {name: [] for name in names}
    for number in range(rounds):
        for offset in range(len(names)):
            name = names[(number + offset) % len(names)]
            sample = contestants[name](number)
            samples[name].append(sample)
            log(f"round {number + 1}/{rounds}: {name}: {sample.wall:.2f} s")
    return samples


def drop_caches():
    """Empties the page cache; only root may."""
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")


def seconds(values):
    """`median (min..max)` in seconds."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


def table(header, rows):
    """A markdown table."""
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def race_table(samples, baseline, extra_header=(), extra=lambda name, samples: ()):
    """Wall time with spread, the ratio to the baseline's median (above 1 is faster), CPU time and peak memory of each contestant."""
    base = statistics.median(sample.wall for sample in samples[baseline])
    rows = []
    for name, runs in samples.items():
        wall = [sample.wall for sample in runs]
        cpu = statistics.median(sample.cpu for sample in runs)
        peak = max(sample.peak_bytes for sample in runs)
        ratio = base / statistics.median(wall)
        rows.append([name, seconds(wall), f"{ratio:.2f}x", f"{cpu:.2f}", size(peak), *extra(name, runs)])
    header = ["", "wall s: median (min..max)", f"speed, {baseline} = 1", "CPU s", "peak memory", *extra_header]
    return table(header, rows)


def size(number):
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024


def machine():
    """One line about where this ran."""
    model = next(
        (line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores ({model}), Linux {platform.release()}"


def version(*command):
    """The first line a program prints about itself."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip("* ")


def headstart_binary(given):
    """The headstart to race: the given one, or a release build of this work tree."""
    if given:
        return pathlib.Path(given).resolve()
    build = ["cargo", "build", "--release", "--quiet", "-p", "headstart-cli"]
    subprocess.run(build, cwd=REPOSITORY, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return target / "release" / "headstart"


def environment(work):
    """Nothing of the user's git, home or headstart settings takes part."""
    home = work / "home"
    home.mkdir(exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        # A clone that is missing must not make git find a repository around the work folder.
        "GIT_CEILING_DIRECTORIES": str(work),
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "gc.auto",
        "GIT_CONFIG_VALUE_0": "0",
        "GIT_CONFIG_KEY_1": "safe.directory",
        "GIT_CONFIG_VALUE_1": "*",
    }


@contextlib.contextmanager
def work_folder(parent, loop_gib):
    """A folder for everything a bench writes, gone at its end; on a fresh ext4 file system of its own when `loop_gib` is given."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headstart-bench-", dir=parent))
    mounted = folder / "mount"
    try:
        if not loop_gib:
            yield folder
            return
        if os.geteuid() != 0:
            sys.exit("error: a loop file system needs root")
        image = folder / "image"
        with open(image, "wb") as file:
            file.truncate(loop_gib << 30)
        mounted.mkdir()
        subprocess.run(["mkfs.ext4", "-q", "-F", "-i", "4096", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, mounted], check=True)
        try:
            yield mounted
        finally:
            # Lazily when a program that was stopped is not gone yet.
            if subprocess.run(["umount", mounted], stderr=subprocess.DEVNULL).returncode != 0:
                subprocess.run(["umount", "--lazy", mounted], check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def manifest(root, skip=()):
    """What a folder holds: path, kind, mode, link target, size and SHA-256 of each file and which names are one file; mtime in ns."""
    root = os.fsencode(root)
    lines, links = [], {}
    for folder, folders, files in os.walk(root):
        if folder == root:
            folders[:] = [name for name in folders if os.fsdecode(name) not in skip]
            files = [name for name in files if os.fsdecode(name) not in skip]
        for name in folders + files:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, root)
            stat = os.lstat(path)
            if os.path.islink(path):
                fact = ("link", os.readlink(path))
            elif os.path.isdir(path):
                fact = ("folder", oct(stat.st_mode))
            else:
                with open(path, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                first = links.setdefault((stat.st_dev, stat.st_ino), relative) if stat.st_nlink > 1 else relative
                fact = ("file", oct(stat.st_mode), stat.st_size, digest, first)
            lines.append((relative, fact, stat.st_mtime_ns))
    return sorted(lines)


def require_same(expected, actual, what, mtime_unit_ns=1, hardlinks=True):
    """Ends the bench when two manifests differ: a fast wrong answer is no result. Modification times are compared in whole units;
    0 leaves them out. Without `hardlinks`, files with the same content may be one file or several."""

    def compared(lines):
        for path, fact, mtime in lines:
            if fact[0] == "file" and not hardlinks:
                fact = fact[:-1]
            yield path, fact, mtime // mtime_unit_ns if mtime_unit_ns else 0

    differing = sorted(set(compared(expected)) ^ set(compared(actual)))
    if differing:
        listed = "\n".join(map(repr, differing[:10]))
        sys.exit(f"error: {what} differs from the original in {len(differing)} places:\n{listed}")


def log(text):
    """Progress, apart from the tables on stdout."""
    print(text, file=sys.stderr, flush=True)
