#!/usr/bin/env python3
"""Many rows out of few, to compare engines where real vectors are at hand but not a million of them.

    python3 benches/compare/million.py --vectors ROWS.npy --out MILLION.npy [--rows 1000000] [--seed 7]

Each new row lies between a given row and one of its nearest rows, at a random place, and a little beside the line: so the
new rows stay where the real ones are, near others, and no two are equal. Queries are best real ones that the rows do not
hold: those that came with them, or `--hold-out 1000 --queries QUERIES.npy`, which sets the last rows aside. Rows are
written as int8, each with a scale of its own, which normalising takes out again (384 MB for a million of 384).
"""
import argparse

import numpy as np

from rows import Rows, normalised

CHUNK = 1_000


def neighbours(base, count):
    """The rows nearest to each row, itself left out; shape [rows, count]. An exact scan."""
    nearest = np.empty((len(base), count), dtype=np.int32)
    for start in range(0, len(base), CHUNK):
        scores = base[start:start + CHUNK] @ base.T
        own = np.arange(len(scores))
        scores[own, start + own] = -np.inf
        nearest[start:start + CHUNK] = np.argpartition(scores, -count, axis=1)[:, -count:]
    return nearest


def mixed(base, nearest, count, noise, random):
    first = random.integers(0, len(base), count)
    second = nearest[first, random.integers(0, nearest.shape[1], count)]
    weight = random.random((count, 1), dtype=np.float32)
    rows = weight * base[first] + (1 - weight) * base[second]
    beside = random.standard_normal(rows.shape, dtype=np.float32)
    return normalised(rows) + noise * normalised(beside)


def quantised(rows):
    return np.rint(rows * (127 / np.abs(rows).max(axis=1, keepdims=True))).astype(np.int8)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--neighbours", type=int, default=8)
    parser.add_argument("--noise", type=float, default=0.15, help="length of what is added to a row of length 1")
    parser.add_argument("--hold-out", type=int, default=0)
    parser.add_argument("--queries", help="where the rows held out go")
    a = parser.parse_args()
    base = normalised(Rows(a.vectors).raw[:])
    if a.hold_out:
        base, held_out = base[:-a.hold_out], base[-a.hold_out:]
        np.save(a.queries, held_out)
    near = neighbours(base, a.neighbours)
    random = np.random.default_rng(a.seed)
    out = np.lib.format.open_memmap(a.out, mode="w+", dtype=np.int8, shape=(a.rows, base.shape[1]))
    for start in range(0, a.rows, 10_000):
        end = min(start + 10_000, a.rows)
        out[start:end] = quantised(mixed(base, near, end - start, a.noise, random))
    out.flush()
