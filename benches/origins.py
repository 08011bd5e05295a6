"""Origins for benches: bare mirrors with bitmaps and commit-graph, as a host keeps its repositories, that serve filters. A folder of them
can be kept between benches, since packing takes minutes."""

import pathlib
import random
import shutil
import subprocess
import sys

import racing


def add_options(parser):
    """The options that say what to clone."""
    parser.add_argument("--repository", action="append", default=[], type=named, metavar="[NAME=]SOURCE", help="a path or URL; may be repeated")
    parser.add_argument("--pull-branches", action="append", default=[], metavar="NAME=N", help="its newest N pull requests become branches")
    parser.add_argument("--origins", type=pathlib.Path, metavar="DIR", help="keep the origins here for the next time")


def from_options(options, cache, environment):
    """Names and origins of the repositories that were given."""
    pull_branches = dict(word.split("=", 1) for word in options.pull_branches)
    for name, source in options.repository:
        yield name, prepare(cache, name, source, int(pull_branches.get(name, 0)), environment)


def named(word):
    name, equals, source = word.partition("=")
    if not equals:
        name, source = pathlib.PurePath(word.rstrip("/")).stem, word
    local = pathlib.Path(source)
    return name, str(local.resolve()) if local.exists() else source


def prepare(folder, name, source, pull_branches, environment):
    """The origin `name` in `folder`: its branches and tags, as `source` has them. Hosts show every pull request as a ref that no clone
    asks for; the newest `pull_branches` of them become branches, the rest is left out."""
    origin = folder / f"{name}.git"
    made_of = f"{source} {pull_branches}"
    if origin.exists():
        kept = subprocess.run(["git", "-C", origin, "config", "bench.madeOf"], env=environment, capture_output=True, text=True).stdout.strip()
        if kept != made_of:
            sys.exit(f"error: {origin} was made of {kept!r}, not of {made_of!r}: remove it")
        return origin
    racing.log(f"mirroring {source}")

    def fill(git):
        listed = git("ls-remote", "--symref", source, "HEAD", "refs/pull/*/head", capture_output=True, text=True).stdout.splitlines()
        head = next(line.split()[1] for line in listed if line.startswith("ref: ") and line.endswith("\tHEAD"))
        numbers = sorted(int(line.split("/")[2]) for line in listed if "\trefs/pull/" in line)
        if lacking := missing_objects(source, ["--branches", "--tags"], environment):
            racing.log(f"{source} lacks {len(lacking)} objects of its history: rewriting it without them")
            rewrite_without(lacking, source, half_made(origin), environment)
            git("symbolic-ref", "HEAD", head)
            return
        numbers = whole_pulls(source, numbers[-pull_branches:], environment) if pull_branches else []
        pulls = [f"+refs/pull/{number}/head:refs/heads/pull/{number}" for number in numbers]
        specs = "\n".join(["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", *pulls])
        git("fetch", "-q", "--no-tags", "--no-write-fetch-head", "--stdin", source, input=specs.encode())
        git("symbolic-ref", "HEAD", head)

    return make(origin, fill, made_of, environment)


def missing_objects(source, revisions, environment):
    """What a local partial clone never fetched of these revisions."""
    if not list(pathlib.Path(source).glob("**/objects/pack/*.promisor")):
        return set()
    command = ["git", "-C", source, "rev-list", "--objects", "--missing=print", "--stdin"]
    listed = subprocess.run(command, env=environment, input="\n".join(revisions).encode(), capture_output=True, check=True).stdout
    return {line[1:] for line in listed.splitlines() if line.startswith(b"?")}


def whole_pulls(source, numbers, environment):
    """The pull requests of which the source lacks nothing."""
    if not missing_objects(source, [*(f"refs/pull/{number}/head" for number in numbers), "--not", "--branches", "--tags"], environment):
        return numbers
    half = len(numbers) // 2
    return [*whole_pulls(source, numbers[:half], environment), *whole_pulls(source, numbers[half:], environment)] if half else []


def rewrite_without(lacking, source, target, environment):
    """Fills a repository with the branches and tags of `source`, less the files that it lacks: a server cannot serve a gap."""
    # Blobs are taken over as they are. The mark that a pack may have gaps is not.
    for pack in pathlib.Path(source).glob("**/objects/pack/pack-*"):
        if pack.suffix in (".pack", ".idx"):
            shutil.copy(pack, target / "objects/pack")
    options = ["--no-data", "--branches", "--tags", "--signed-tags=strip", "--tag-of-filtered-object=rewrite", "--reencode=no"]
    with (
        subprocess.Popen(["git", "-C", source, "fast-export", *options], env=environment, stdout=subprocess.PIPE) as exporter,
        subprocess.Popen(["git", "-C", target, "fast-import", "--quiet"], env=environment, stdin=subprocess.PIPE) as importer,
    ):
        for line in exporter.stdout:
            if not (line.startswith(b"M ") and line.split(b" ")[2] in lacking):
                importer.stdin.write(line)
    if exporter.returncode or importer.returncode:
        sys.exit(f"error: the history of {source} could not be rewritten")


def generated(folder, packages, commits, environment):
    """An origin that is the same for the same numbers."""
    origin = folder / f"generated-{packages}-{commits}.git"
    if not origin.exists():
        racing.log(f"generating {packages} packages, {commits} commits")
        make(origin, lambda git: monorepo(git, packages, commits), "nothing", environment)
    return origin


def make(origin, fill, made_of, environment):
    """Fills and packs an origin beside its place and moves it there when it is whole."""
    place = half_made(origin)
    shutil.rmtree(place, ignore_errors=True)
    origin.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "-q", "--bare", "--initial-branch=main", place], env=environment, check=True)
    git = lambda *args, **more: subprocess.run(["git", "-C", place, *map(str, args)], env=environment, check=True, **more)
    fill(git)
    for name in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        git("config", name, "true")
    git("config", "bench.madeOf", made_of)
    racing.log("repacking with bitmaps")
    git("pack-refs", "--all")
    git("repack", "-adbq")
    git("commit-graph", "write", "--reachable", stderr=subprocess.DEVNULL)
    place.rename(origin)
    return origin


def half_made(origin):
    return origin.with_suffix(".half-made")


def monorepo(git, packages, commits):
    """Packages of some eight files, commits that touch a few of them, skewed as real ones."""
    chance = random.Random(20240229)
    words = [f"word{number}" for number in range(2000)]
    text = lambda lines: "".join(" ".join(chance.choices(words, k=8)) + "\n" for _ in range(lines))
    files = {}
    for number in range(packages):
        base = f"packages/{'abcdefgh'[number % 8]}/pkg-{number:04}"
        files[f"{base}/package.json"] = f'{{"name":"@mono/pkg-{number:04}","version":"1.0.0"}}\n'
        for name in ("README.md", "src/index.ts", "src/types.ts", "src/lib/core.ts", "src/lib/util.ts", "test/core.test.ts", "tsconfig.json"):
            files[f"{base}/{name}"] = text(chance.choice((5, 20, 60, 200)))
    paths = list(files)

    def commit(number, changed):
        message = f"commit {number}"
        head = f"commit refs/heads/main\ncommitter C <c@example.org> {1_600_000_000 + number * 600} +0000\ndata {len(message)}\n{message}\n"
        bodies = "".join(f"M 100644 inline {path}\ndata {len(files[path])}\n{files[path]}\n" for path in changed)
        return (head + bodies + "\n").encode()

    def stream():
        yield commit(0, paths)
        for number in range(1, commits):
            changed = {paths[int(len(paths) * chance.random() ** 2)] for _ in range(chance.choice((1, 1, 2, 5)))}
            # In order, for the same repository every time.
            for path in sorted(changed):
                lines = files[path].splitlines(keepends=True)
                lines[chance.randrange(len(lines))] = text(1) if path[-5:] != ".json" else files[path]
                files[path] = "".join(lines)
            yield commit(number, sorted(changed))

    git("fast-import", "--quiet", input=b"".join(stream()))


def copy_for_moving(origin, place, branch, environment):
    """A copy of an origin with one branch only, whose tip a bench may move."""
    copy(origin, place)
    git = lambda *args, **more: subprocess.run(["git", "-C", place, *args], env=environment, check=True, **more)
    refs = git("for-each-ref", "--format=%(refname)", capture_output=True, text=True).stdout.splitlines()
    git("update-ref", "--stdin", input="".join(f"delete {ref}\n" for ref in refs if ref != f"refs/heads/{branch}").encode())
    return place


def copy(origin, place):
    """A copy of an origin; made by cp, which shares blocks where the file system can."""
    pathlib.Path(place).parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", origin, place], check=True)
