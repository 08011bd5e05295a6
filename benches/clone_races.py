"""The races of `benches/clone`. Each answers its tables as markdown, and the medians that its goals are about."""

import contextlib
import os
import shutil
import subprocess
import sys

import link
import racing
from stage import median, race_table, supports

GIT_DEPTH_1, GIT_BLOBLESS, FLOOR = "git --depth=1", "git --filter=blob:none", "floor: tip pack, two tar x"
HEADSTART, BACKGROUND = "headstart", "headstart --background"
WORKTREE_ADD, LOCAL_SEED, SERVER_SEED = "git worktree add", "headstart, seed in the store", "headstart, seed on headstart-server"


def clones(stage, options):
    """Whole clones: without and with seeds, side by side."""
    only, notes, contestants = options.only, [], {}
    with contextlib.ExitStack() as stack:
        unseeded = ["--no-seed"] if supports(stage.headstart, "clone", option="--no-seed") else []
        if "clone" in only:
            contestants[GIT_DEPTH_1] = stage.by_git("--depth=1")
        contestants[GIT_BLOBLESS] = stage.by_git("--filter=blob:none")
        if "clone" in only:
            if shutil.which("curl"):
                contestants[FLOOR] = floor(stage)
            contestants["headstart --depth=1"] = stage.by_headstart(*unseeded, "--depth=1")
            contestants[HEADSTART] = stage.by_headstart(*unseeded)
            if supports(stage.headstart, "clone", option="--background"):
                contestants[BACKGROUND] = stage.by_headstart(*unseeded, "--background")
            else:
                notes.append("This headstart has no `clone --background`.")
        if "treeless" in only:
            contestants["git --filter=tree:0"] = stage.by_git("--filter=tree:0")
            contestants["headstart --filter=tree:0"] = stage.by_headstart(*unseeded, "--filter=tree:0")
        if "full" in only:
            contestants["git, full"] = stage.by_git()
            contestants["headstart --filter=none"] = stage.by_headstart(*unseeded, "--filter=none")
        if "seed" in only:
            contestants[WORKTREE_ADD] = worktree_add(stage)
            if supports(stage.headstart, "seed", "push"):
                notes.append(add_seeds(stage, options, contestants, stack))
            else:
                notes.append("This headstart has no `seed`.")
        samples = racing.race(contestants, options.runs, racing.log)
    # A shallow clone is checked like the others; the floor is no repository.
    stage.check(samples, leave_out=[FLOOR])
    return "\n".join([race_table(samples, GIT_BLOBLESS), "", *notes]).rstrip(), clone_goals(samples)


def clone_goals(samples):
    wall = {name: median(runs) for name, runs in samples.items()}
    peak = {name: max(sample.peak_bytes for sample in runs) for name, runs in samples.items()}
    if BACKGROUND in wall:
        ready = wall[BACKGROUND]
    else:
        ready = median(samples.get(HEADSTART, []) or samples[GIT_BLOBLESS], "worktree_ready_seconds")
    rows = []

    def goal(what, needed, of, to, shown="{:.2f}x"):
        if of is not None and to is not None:
            rows.append([what, needed, shown.format(of / to)])

    goal("worktree ready, faster than git --depth=1", ">= 1.3x", wall.get(GIT_DEPTH_1), ready)
    goal("worktree ready, faster than git's blobless clone", ">= 2.5x", wall[GIT_BLOBLESS], ready)
    goal("worktree ready, times the floor", "<= 1.3x", ready, wall.get(FLOOR))
    goal("blobless clone, faster than git's", ">= 1.5x", wall[GIT_BLOBLESS], wall.get(HEADSTART))
    goal("seed in the store, faster than git's blobless clone", ">= 4x (many files), 8x", wall[GIT_BLOBLESS], wall.get(LOCAL_SEED))
    goal("seed in the store, faster than git worktree add", "> 1x", wall.get(WORKTREE_ADD), wall.get(LOCAL_SEED))
    goal("seed on a server, faster than git's blobless clone", ">= 3x", wall[GIT_BLOBLESS], wall.get(SERVER_SEED))
    goal("peak memory, times git's", "< 1.5x", peak.get(HEADSTART), peak[GIT_BLOBLESS])
    received = lambda name: median(samples[name], "received") if name in samples else None
    goal("bytes received, times git's", "<= 1x or so", received(HEADSTART), received(GIT_BLOBLESS))
    return rows


def floor(stage):
    """What nobody can beat: the pack of the tip, ready-made, over the network, then its files by two `tar x` at once."""
    clone, folder = stage.fresh("prepared"), stage.fresh("prepared")
    stage.git("clone", "-q", "--depth=1", stage.url, clone)
    folder.mkdir()
    [pack] = (clone / ".git/objects/pack").glob("*.pack")
    served = stage.served / "floor.git"
    subprocess.run(["git", "init", "-q", "--bare", served], env=stage.environment, check=True)
    shutil.copy(pack, served / "objects/pack")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=clone, env=stage.environment, capture_output=True, check=True).stdout.split(b"\0")[:-1]
    # Halves of the bytes, each a run of folders.
    sizes = [os.lstat(os.path.join(os.fsencode(clone), name)).st_size + 4096 for name in listed]
    half, passed = 0, 0
    while passed < sum(sizes) / 2:
        passed += sizes[half]
        half += 1
    for name, names in (("a", listed[:half]), ("b", listed[half:])):
        command = ["tar", "-C", clone, "-cf", folder / name, "--no-recursion", "--null", "-T", "-"]
        subprocess.run(command, input=b"\0".join(names), check=True)
    url = f"{stage.base}/floor.git/objects/pack/{pack.name}"

    def once(_):
        place = stage.fresh("clones")
        script = (
            f"mkdir {place} && curl -sSf -o {place}.pack {url} && {{ tar -xf {folder}/a -C {place} & first=$!; "
            f"tar -xf {folder}/b -C {place} && wait $first; }}"
        )
        return stage.measure(script, place)

    return once


def worktree_add(stage):
    """No network at all: one more working tree of a clone that is there."""
    clone = stage.fresh("prepared")
    stage.git("clone", "-q", "--filter=blob:none", stage.url, clone)

    def once(_):
        place = stage.fresh("clones")
        return stage.measure(["git", "worktree", "add", "-q", "--detach", place, "HEAD"], place, cwd=clone)

    return once


def add_seeds(stage, options, contestants, stack):
    """Pushes a seed of an older state of the origin, and adds the contestants that clone the newest from it."""
    commits = behind(stage, options)
    machine = stage.machine()
    push = [stage.headstart, "seed", "push"]
    with stage.moved_back(commits):
        pushed = stage.measure([*push, stage.url], "/nowhere", variables=machine)
    contestants[LOCAL_SEED] = stage.by_headstart(machine=machine)
    note = f"Seeds are {commits} commits old. Pushing one into the store took {pushed.wall:.1f} s."

    first = stage.machine()
    stage.measure([stage.headstart, "clone", "--quiet", stage.url, stage.fresh("prepared")], "/nowhere", variables=first)
    contestants["headstart, second clone on a machine"] = stage.by_headstart(machine=first)

    if options.headstart_server is None:
        return note + " There is no headstart-server to race with."
    remote = stack.enter_context(seed_server(stage, options.headstart_server))
    with stage.moved_back(commits):
        stage.measure([*push, "--remote", remote, stage.url], "/nowhere", variables=stage.machine())
    contestants[SERVER_SEED] = stage.by_headstart("--remote", remote)
    return note


@contextlib.contextmanager
def seed_server(stage, program):
    data = stage.fresh("prepared")
    command = [*link.die_with_me(), *stage.network.server_side, program, "--data", data, "--insecure-no-token", "--quiet"]
    server = subprocess.Popen([*command, "--listen", f"{stage.network.address}:0"], stdout=subprocess.PIPE, text=True, env=stage.environment)
    try:
        # `listening on http://...`
        yield server.stdout.readline().split()[-1]
    except IndexError:
        sys.exit("error: headstart-server does not serve")
    finally:
        server.terminate()
        server.wait()


def sparse(stage, options):
    """Sparse clones: git needs three steps for what headstart does in one."""
    cone = [folder for folder in options.sparse if stage.at_origin("ls-tree", "-d", "HEAD", folder.rstrip("/"))]
    if not cone:
        return "No --sparse folder is one of this repository.", []
    words = " ".join(f"'{folder}'" for folder in cone)

    def by_git(_):
        place = stage.fresh("clones")
        steps = f"git clone -q --filter=blob:none --no-checkout {stage.url} {place} && cd {place} && git sparse-checkout set {words} && git checkout -q"
        return stage.measure(steps, place)

    contestants = {
        "git, three steps": by_git,
        "headstart --sparse": stage.by_headstart(*(word for folder in cone for word in ("--sparse", folder))),
    }
    samples = racing.race(contestants, options.runs, racing.log)
    stage.check(samples)
    text = f"Sparse clones of {', '.join(f'`{folder}`' for folder in cone)}:\n\n" + race_table(samples, "git, three steps")
    return text, [["sparse cone, faster than git's three steps", ">= 2x", speed(samples, "git, three steps", "headstart --sparse")]]


def pull(stage, options):
    """A checkout of some commits ago catches up."""
    if not supports(stage.headstart, "pull"):
        return "This headstart has no `pull`.", []
    commits = behind(stage, options)
    url, move = stage.serve_moving(commits)
    clone = stage.fresh("prepared")
    stage.git("clone", "-q", "--filter=blob:none", url, clone)
    commands = {"git pull": ["git", "pull", "-q", "--ff-only"], "headstart pull": [stage.headstart, "pull", "--quiet"]}
    copies = {name: [stage.copy_of(clone) for _ in range(options.runs)] for name in commands}
    move()
    contestants = {
        name: lambda number, name=name: stage.measure(commands[name], copies[name][number], cwd=copies[name][number], variables=stage.machine())
        for name in commands
    }
    samples = racing.race(contestants, options.runs, racing.log)
    stage.check(samples)
    tip = stage.at_origin("rev-parse", "HEAD")
    for name, places in copies.items():
        if any(stage.git("rev-parse", "HEAD", cwd=place) != tip for place in places):
            sys.exit(f"error: after {name}, HEAD is not the tip")
    text = f"A blobless clone of {commits} commits ago catches up:\n\n" + race_table(samples, "git pull")
    return text, [["pull, faster than git pull", "> 1x", speed(samples, "git pull", "headstart pull")]]


def backfill(stage, options):
    """`git log --stat -100` in a blobless clone: blob by blob as git needs them, or after a backfill."""
    if not supports(stage.headstart, "backfill"):
        return "This headstart has no `backfill`.", []
    clone = stage.fresh("prepared")
    stage.git("clone", "-q", "--filter=blob:none", stage.url, clone)
    log = "git log --stat -100"
    commands = {"git, lazily": log, "headstart backfill, then git": f"'{stage.headstart}' backfill --quiet --revs HEAD~100..HEAD && {log}"}
    packs = lambda place: len(list((place / ".git/objects/pack").glob("*.promisor")))

    def contestant(command):
        def once(_):
            place = stage.copy_of(clone, files=False)
            before = packs(place)
            sample = stage.measure(command, place, cwd=place, variables=stage.machine())
            sample.facts["packs"] = packs(place) - before
            return sample

        return once

    samples = racing.race({name: contestant(command) for name, command in commands.items()}, options.runs, racing.log)
    listed = {name: runs[0].stdout[runs[0].stdout.find("commit ") :] for name, runs in samples.items()}
    if len(set(listed.values())) != 1:
        sys.exit("error: the logs differ")
    text = f"`{log}` in a blobless clone:\n\n" + race_table(samples, "git, lazily", [("packs fetched", "packs")])
    return text, [["log --stat -100 after backfill, faster than lazily", ">= 5x", speed(samples, "git, lazily", "headstart backfill, then git")]]


def speed(samples, baseline, name):
    return f"{median(samples[baseline]) / median(samples[name]):.2f}x"


def behind(stage, options):
    """How many commits back seeds and old checkouts are; fewer in a short history."""
    return min(options.behind, int(stage.at_origin("rev-list", "--first-parent", "--count", "HEAD")) - 1)
