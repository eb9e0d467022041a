#!/usr/bin/env python3
"""vecdb beside hnswlib, faiss and usearch: the same rows, the same queries, one run, one table.

    pip install numpy hnswlib faiss-cpu usearch
    python3 benches/compare/compare.py --vectors ROWS.npy --queries QUERIES.npy

Each engine builds once (two threads; kept in --cache until --rebuild) and is then measured in turn, round after round, each
in a process of its own: one thread, one query at a time. The first round tries every setting, the later ones those around
recall 0.95 and 0.99. Speed at equal recall is interpolated between the two settings around it, round by round, because a
machine's speed drifts; the table gives the medians over the rounds. Recall is the same code for all (rows.py).
"""
import argparse
import json
import math
import os
import shutil
import subprocess
import sys

import numpy as np

import peers
import table
from rows import Rows, exact, fields, normalised, recall

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
OURS = "vecdb"
TARGETS = (0.95, 0.99)
EFS = "16,24,32,48,64,96,128,192,256,384,512,768"
OUR_SETTINGS = "0.7,0.8,0.85,0.9,0.93,0.95,0.97,0.98,0.99,0.995"


def lines(command):
    """The JSON lines that a process prints."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        yield json.loads(line)
    if process.wait() != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")


def say(what):
    print(what, file=sys.stderr, flush=True)


def compiled():
    """Our side, compiled. The encoder has no part in it, so it is left out."""
    say("compiling vecdb's side")
    command = ["cargo", "build", "--release", "--no-default-features", "--bench", "compare", "--message-format", "json"]
    ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for line in ran.stdout.splitlines():
        message = json.loads(line)
        if message.get("target", {}).get("name") == "compare" and message.get("executable"):
            return message["executable"]
    raise SystemExit("cargo told of no executable")


class Bench:
    """The rows, the queries, the exact answer, and where the indexes lie."""

    def __init__(self, a):
        self.a = a
        os.makedirs(a.cache, exist_ok=True)
        self.rows = self.cut(Rows(a.vectors))
        self.key = self.rows.key()
        self.queries = normalised(np.load(a.queries))[:a.query_count]
        self.query_file = self.array("queries", lambda: self.queries, fresh=True)
        self.field_file = self.array("fields", lambda: fields(self.rows, self.queries[0]))
        needed = a.filters or OURS in a.engines.split(",")
        self.binary = a.binary or (compiled() if needed else None)

    def cut(self, rows):
        """The first --rows rows, as a file."""
        if not self.a.rows or self.a.rows >= rows.count:
            return rows
        path = os.path.join(self.a.cache, f"{rows.key()}-first-{self.a.rows}.npy")
        if not os.path.exists(path):
            np.save(path, rows.raw[:self.a.rows])
        return Rows(path)

    def array(self, name, make, fresh=False):
        """A kept array's file."""
        path = os.path.join(self.a.cache, f"{self.key}-{name}.npy")
        if fresh or not os.path.exists(path):
            np.save(path, make())
        return path

    def exact(self, name, queries, selected=None):
        """The exact k-th scores, kept under a name that says whose they are."""
        key = f"{len(queries)}-{float(queries.sum()):.6f}-{self.a.k}-{name}"
        return np.load(self.array(f"exact-{key}", lambda: exact(self.rows, queries, self.a.k, selected)))

    def index(self, engine):
        """Where the engine's index lies and what building it took; built if it is not there."""
        a = self.a
        parameters = f"s{a.segments}" if engine == OURS else f"m{a.m}-efc{a.efc}"
        path = os.path.join(a.cache, f"{self.key}-{engine}-{parameters}")
        note = path + ".json"
        if a.rebuild == "all" or engine in a.rebuild.split(","):
            for old in (path, note):
                shutil.rmtree(old, ignore_errors=True)
                if os.path.isfile(old):
                    os.remove(old)
        if not os.path.exists(note):
            say(f"building {engine}")
            shutil.rmtree(path, ignore_errors=True)
            if engine == OURS:
                command = [self.binary, "build", "--rows", self.rows.path, "--db", path, "--fields", self.field_file,
                           "--segments", str(a.segments)]
            else:
                command = [sys.executable, peers.__file__, "build", engine, "--rows", self.rows.path, "--index", path,
                           "--m", str(a.m), "--efc", str(a.efc)]
            built, = lines(command)
            say(f"  {built}")
            with open(note, "w") as file:
                json.dump(built, file)
        with open(note) as file:
            return path, json.load(file)

    def search(self, engine, path, settings, *more, queries=None):
        queries = queries or self.query_file
        common = ["--queries", queries, "--settings", ",".join(settings), "--k", str(self.a.k),
                  "--seconds", str(self.a.seconds)]
        if engine == OURS:
            return lines([self.binary, "search", "--db", path, *common, *more])
        return lines([sys.executable, peers.__file__, "search", engine, "--index", path, *common])


def around(points, targets):
    """The settings whose recalls lie next to the targets: what the later rounds measure again."""
    points = sorted(points, key=lambda point: point["recall"])
    wanted = set()
    for target in targets:
        above = next((at for at, point in enumerate(points) if point["recall"] >= target), len(points))
        wanted.update(point["setting"] for point in points[max(0, above - 2):above + 2])
    return [point["setting"] for point in points if point["setting"] in wanted]


def rate_at(points, target, what="qps"):
    """Queries per second at a recall: log-linear between the two points around it, among those that no other beats in
    both. None where the engine does not get there; the fastest point's where it cannot do worse."""
    best = []
    for point in sorted(points, key=lambda point: (-point["recall"], -point[what])):
        if not best or point[what] > best[-1][what]:
            best.append(point)
    above = [point for point in best if point["recall"] >= target]
    below = [point for point in best if point["recall"] < target]
    if not above:
        return None
    high = above[-1]
    if not below:
        return high[what]
    low = below[0]
    part = (target - low["recall"]) / (high["recall"] - low["recall"])
    return math.exp(math.log(low[what]) * (1 - part) + math.log(high[what]) * part)


def scaled(bench, path, points, threads):
    """Queries per second of ours on so many threads, with the least setting that reaches the first target."""
    enough = [point for point in points if point["recall"] >= TARGETS[0]] or points
    setting = min(enough, key=lambda point: point["recall"])["setting"]
    told, = bench.search(OURS, path, [setting], "--threads", str(threads))
    return told["qps"]


def compare(bench, engines):
    """Rounds of all engines → for each engine its measurements by round."""
    a = bench.a
    kth = bench.exact("all", bench.queries)
    indexes = {engine: bench.index(engine) for engine in engines}
    rounds = {engine: [] for engine in engines}
    scaling = []
    for number in range(a.rounds):
        for engine in engines:
            path, built = indexes[engine]
            if number == 0:
                settings = (a.settings if engine == OURS else a.efs).split(",")
            else:
                settings = around(rounds[engine][0], TARGETS)
            points = []
            for line in bench.search(engine, path, settings):
                line["recall"] = recall(bench.rows, bench.queries, a.k, kth, line.pop("ids"))
                line.update(engine=engine, rows=bench.rows.count, build_s=built["build_s"], round=number)
                points.append(line)
                print(json.dumps({key: round(value, 4) if isinstance(value, float) else value
                                  for key, value in line.items()}), flush=True)
            rounds[engine].append(points)
            if engine == OURS:
                one, two = (scaled(bench, path, points, threads) for threads in (1, 2))
                scaling.append(two / one)
    return table.speed(bench, indexes, rounds, scaling, rate_at, TARGETS)


def filters(bench):
    """Ours under filters: random ones, and ones whose rows rank last for the query."""
    a = bench.a
    path, _ = bench.index(OURS)
    numbers = np.load(bench.field_file)
    # Near one direction, so that `far` ranks the rows for all of them.
    random = np.random.default_rng(7)
    noise = normalised(random.standard_normal((100, bench.rows.dimension)))
    near = normalised(bench.queries[0] + 0.2 * noise)
    near_file = bench.array("near", lambda: near, fresh=True)
    measured = []
    for field, column, queries, file in (
        ("bucket", 0, bench.queries[:200], bench.array("some", lambda: bench.queries[:200], fresh=True)),
        ("far", 1, near, near_file),
    ):
        for permille in (500, 100, 10, 1):
            selected = numbers[:, column] < permille
            matches = int(selected.sum())
            kth = bench.exact(f"{field}-{permille}", queries, selected)
            told = bench.search(OURS, path, [a.filter_setting], "--filter", f"{field} < {permille}", queries=file)
            for line in told:
                ids = line.pop("ids")
                wanted = min(a.k, matches)
                line.update(
                    field=field, permille=permille, matches=matches,
                    all_hits=all(len(hits) == wanted and selected[hits].all() for hits in ids),
                    recall=recall(bench.rows, queries, a.k, kth, ids) * a.k / max(wanted, 1),
                )
                print(json.dumps(line), flush=True)
                measured.append(line)
    return table.filtered(measured)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", required=True, help=".npy, float32 or int8, shape [rows, dimension]")
    parser.add_argument("--queries", required=True, help=".npy of the same kind")
    parser.add_argument("--rows", type=int, help="only the first so many")
    parser.add_argument("--query-count", type=int, default=1000)
    parser.add_argument("--cache", default="target/compare", help="where indexes are kept")
    parser.add_argument("--engines", default=",".join([OURS, *peers.ENGINES]))
    parser.add_argument("--rebuild", default="", help="engines whose index is to be built again, or all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3, help="at least so long a measurement")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--efc", type=int, default=200)
    parser.add_argument("--efs", default=EFS, help="what the peers try")
    parser.add_argument("--settings", default=OUR_SETTINGS, help="what ours tries: target recalls, `default`, `exact`")
    parser.add_argument("--segments", type=int, default=1, help="calls that ours adds the rows in")
    parser.add_argument("--filters", action="store_true", help="filtered search of ours, instead of the comparison")
    parser.add_argument("--filter-setting", default="default")
    parser.add_argument("--binary", help="our side, compiled already")
    typed = parser.parse_args()
    bench = Bench(typed)
    report = filters(bench) if typed.filters else compare(bench, typed.engines.split(","))
    print("\n" + report)
