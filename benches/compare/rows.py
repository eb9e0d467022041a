"""Rows as every engine gets them, the fields that filters ask for, and the exact answer.

A file holds float32 or int8 rows; either becomes float32 and is normalised. Files of a million rows are read in chunks.
"""
import os
import zlib

import numpy as np

CHUNK = 50_000
# A hit counts if its score ties or beats the exact k-th one: rows that are equal are no errors.
TIE = 1e-6


def normalised(raw):
    rows = np.ascontiguousarray(raw, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Rows:
    """A file of vectors, shape [count, dimension]."""

    def __init__(self, path):
        self.path = path
        self.raw = np.load(path, mmap_mode="r")
        if self.raw.ndim != 2 or self.raw.dtype not in (np.float32, np.int8):
            raise SystemExit(f"{path}: not a two-dimensional array of float32 or int8")
        self.count, self.dimension = self.raw.shape

    def chunks(self):
        for start in range(0, self.count, CHUNK):
            yield start, normalised(self.raw[start:start + CHUNK])

    def take(self, numbers):
        return normalised(self.raw[numbers])

    def key(self):
        """Names the contents in the cache."""
        ends = np.concatenate([self.raw[:100], self.raw[-100:]]).tobytes()
        stem = os.path.splitext(os.path.basename(self.path))[0]
        return f"{stem}-{self.count}-{zlib.crc32(ends):08x}"


def fields(rows, direction, seed=7):
    """Two integers a row, shape [count, 2], both in 0..1000: `bucket` is random; `far` is the row's rank by its score
    with `direction`, so that `far < x` selects the rows that a query in that direction reaches last."""
    scores = np.concatenate([chunk @ direction for _, chunk in rows.chunks()])
    rank = np.empty(rows.count, dtype=np.int64)
    rank[np.argsort(scores, kind="stable")] = np.arange(rows.count)
    bucket = np.random.default_rng(seed).integers(0, 1000, rows.count)
    return np.stack([bucket, rank * 1000 // rows.count], axis=1).astype(np.int32)


def exact(rows, queries, k, selected=None):
    """The score of each query's k-th best selected row, -inf where there are fewer; shape [queries]."""
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for start, chunk in rows.chunks():
        if selected is not None:
            chunk = chunk[selected[start:start + len(chunk)]]
        if len(chunk):
            best = np.concatenate([best, queries @ chunk.T], axis=1)
            best = -np.partition(-best, k - 1, axis=1)[:, :k]
    return best.min(axis=1)


def recall(rows, queries, k, kth, ids):
    """The part of the wanted hits that was found, each row counted once."""
    found = 0
    for query, least, hits in zip(queries, kth, ids):
        hits = np.unique(np.asarray(hits, dtype=np.int64))
        hits = hits[(hits >= 0) & (hits < rows.count)]
        if len(hits):
            found += min(k, int((rows.take(hits) @ query >= least - TIE).sum()))
    return found / (k * len(queries))
