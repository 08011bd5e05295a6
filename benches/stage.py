"""Where one repository is raced on one network: places for clones, measured runs, checks of what they made."""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import origins
import racing


class Stage:
    """One origin, served as `repository.git` on one network, and a folder for everything made from it."""

    def __init__(self, work, network, base, served, headstart, environment):
        self.work = work
        self.network = network
        self.base = base
        self.served = served
        self.headstart = headstart
        self.environment = environment
        self.url = f"{base}/repository.git"
        self.count = 0

    def fresh(self, kind):
        """A path that never existed."""
        self.count += 1
        path = self.work / kind / f"{self.count:04}"
        path.parent.mkdir(exist_ok=True)
        return path

    def machine(self):
        """The environment of a machine that never saw headstart."""
        home = self.fresh("machines")
        home.mkdir()
        return {"HOME": str(home), "HEADSTART_STORE": str(home / "store")}

    def git(self, *arguments, cwd=None, **options):
        """Runs git on the client's side; answers its output."""
        command = [*self.network.client_side, "git", *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd, env=self.environment, check=True, stdout=subprocess.PIPE, text=True, **options)
        return done.stdout.rstrip("\n")

    def at_origin(self, *arguments, repository="repository.git"):
        """Asks the origin itself."""
        command = ["git", "-C", self.served / repository, *arguments]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True, errors="replace").stdout.rstrip("\n")

    @property
    def branch(self):
        return self.at_origin("symbolic-ref", "--short", "HEAD")

    @contextlib.contextmanager
    def moved_back(self, commits):
        """The origin as it was so many commits of its default branch ago."""
        ref, tip = f"refs/heads/{self.branch}", self.at_origin("rev-parse", "HEAD")
        self.at_origin("update-ref", ref, f"HEAD~{commits}")
        try:
            yield
        finally:
            self.at_origin("update-ref", ref, tip)

    def measure(self, command, place, cwd=None, variables=None):
        """One run. Its facts are what it printed as JSON, the place, and the bytes received, those of a detached process included."""
        before = self.network.received_bytes()
        sample = racing.run(command, prefix=self.network.client_side, env=self.environment | (variables or {}), cwd=cwd)
        wait_for_detached(place)
        sample.facts = json.loads(sample.stdout) if sample.stdout.startswith("{") else {}
        sample.facts["place"] = place
        if before is not None:
            sample.facts["received"] = self.network.received_bytes() - before
        return sample

    def by_git(self, *options):
        """A contestant: `git clone` with these options."""

        def once(_):
            place = self.fresh("clones")
            return self.measure(["git", "clone", "-q", *options, self.url, place], place)

        return once

    def by_headstart(self, *options, machine=None):
        """A contestant: `headstart clone` on that machine, or on a new one every time."""

        def once(_):
            place = self.fresh("clones")
            command = [self.headstart, "clone", "--json", *options, self.url, place]
            return self.measure(command, place, variables=machine or self.machine())

        return once

    def check(self, samples, leave_out=()):
        """A clone that is not sound, not clean or not equal to the others ends the bench."""
        racing.log("checking the clones")
        expected = None
        for name, runs in samples.items():
            if name in leave_out:
                continue
            place = runs[0].facts["place"]
            for command in (["git", "fsck", "--connectivity-only"], ["git", "status", "--porcelain"]):
                output = subprocess.run(command, cwd=place, env=self.environment, capture_output=True, text=True, errors="replace")
                if output.returncode != 0 or (command[1] == "status" and output.stdout):
                    sys.exit(f"error: {' '.join(command)} in the clone of {name!r}: {output.stdout[:2000]}{output.stderr[:2000]}")
            found = racing.manifest(place, skip=[".git"])
            expected = expected or found
            racing.require_same(expected, found, f"the clone of {name!r}", mtime_unit_ns=0)

    def serve_moving(self, commits):
        """A second origin, `moving.git`: one branch, so many commits back. Answers its URL and a function that moves it to the tip."""
        tip = self.at_origin("rev-parse", "HEAD")
        origins.copy_for_moving(self.served / "repository.git", self.served / "moving.git", self.branch, self.environment)
        ref = f"refs/heads/{self.branch}"
        move = lambda target: self.at_origin("update-ref", ref, target, repository="moving.git")
        move(f"{tip}~{commits}")
        return f"{self.base}/moving.git", lambda: move(tip)

    def copy_of(self, clone, files=True):
        """A copy of a clone whose index knows the files of the copy; without `files`, of its git directory only."""
        place = self.fresh("copies")
        if files:
            subprocess.run(["cp", "-a", clone, place], check=True)
            self.git("update-index", "-q", "--refresh", cwd=place)
        else:
            place.mkdir()
            subprocess.run(["cp", "-a", clone / ".git", place], check=True)
        return place


def wait_for_detached(place, seconds=600):
    """Returns when no process works in `place` or was told of it."""
    place, deadline = os.fsencode(place), time.monotonic() + seconds
    while any(works_in(process, place) for process in pathlib.Path("/proc").glob("[0-9]*")):
        if time.monotonic() > deadline:
            sys.exit(f"error: a process still works in {os.fsdecode(place)}")
        time.sleep(0.02)


def works_in(process, place):
    with contextlib.suppress(OSError):
        return os.readlink(os.fsencode(process / "cwd")).startswith(place) or place in (process / "cmdline").read_bytes()
    return False


def supports(headstart, *words, option=None):
    """Whether the binary has a subcommand, and an option of it."""
    done = subprocess.run([headstart, "help", *words], capture_output=True, text=True)
    return done.returncode == 0 and (option is None or option in done.stdout)


def median(runs, fact=None):
    """Of wall time, or of something the runs told; None when one did not tell."""
    values = [sample.facts.get(fact) if fact else sample.wall for sample in runs]
    return None if None in values else statistics.median(values)


def race_table(samples, baseline, more=()):
    """A racing table with what clones have besides: when the files were there, and what came over the network."""

    def extra(_, runs):
        ready, received = median(runs, "worktree_ready_seconds"), median(runs, "received")
        cells = ["" if ready is None else f"{ready:.2f}", "" if received is None else f"{received / 1e6:.1f}"]
        return cells + [str(median(runs, fact)) if median(runs, fact) is not None else "" for _, fact in more]

    return racing.race_table(samples, baseline, ["worktree ready s", "MB received", *(title for title, _ in more)], extra)
