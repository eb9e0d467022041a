"""One peer's side of the comparison, in a process of its own, so that its memory is its own; compare.py runs it.

    peers.py build  ENGINE --rows ROWS.npy --index FILE --m 16 --efc 200
    peers.py search ENGINE --index FILE --queries QUERIES.npy --settings 16,32 --k 10 --seconds 0.3

Prints the same JSON lines as vecdb's side. A peer is asked twice: query by query, as ours is, and with all queries in one
call on one thread (`batch_qps`), where no Python runs between them. Builds take two threads, searches one.
"""
import argparse
import json
import time

import numpy as np

from rows import Rows, normalised

WARM_UP = 50


class Hnswlib:
    def create(self, rows, m, efc):
        import hnswlib
        self.index = hnswlib.Index("ip", rows.dimension)
        self.index.init_index(rows.count, M=m, ef_construction=efc)

    def add(self, start, chunk):
        self.index.add_items(chunk, np.arange(start, start + len(chunk)), num_threads=2)

    def save(self, path):
        self.index.save_index(path)

    def load(self, path, dimension):
        import hnswlib
        self.index = hnswlib.Index("ip", dimension)
        self.index.load_index(path)

    def set(self, ef):
        self.index.set_ef(ef)

    def one(self, query, k):
        return self.index.knn_query(query, k=k, num_threads=1)[0][0]

    def all(self, queries, k):
        return self.index.knn_query(queries, k=k, num_threads=1)[0]


class Faiss:
    def __init__(self, sq8):
        self.sq8 = sq8

    def create(self, rows, m, efc):
        import faiss
        faiss.omp_set_num_threads(2)
        metric = faiss.METRIC_INNER_PRODUCT
        if self.sq8:
            self.index = faiss.IndexHNSWSQ(rows.dimension, faiss.ScalarQuantizer.QT_8bit, m, metric)
        else:
            self.index = faiss.IndexHNSWFlat(rows.dimension, m, metric)
        self.index.hnsw.efConstruction = efc

    def add(self, start, chunk):
        if start == 0:
            self.index.train(chunk)
        self.index.add(chunk)

    def save(self, path):
        import faiss
        faiss.write_index(self.index, path)

    def load(self, path, dimension):
        import faiss
        faiss.omp_set_num_threads(1)
        self.index = faiss.read_index(path)

    def set(self, ef):
        self.index.hnsw.efSearch = ef

    def one(self, query, k):
        return self.index.search(query, k)[1][0]

    def all(self, queries, k):
        return self.index.search(queries, k)[1]


class Usearch:
    def __init__(self, dtype):
        self.dtype = dtype

    def create(self, rows, m, efc):
        from usearch.index import Index
        self.index = Index(ndim=rows.dimension, metric="cos", dtype=self.dtype, connectivity=m, expansion_add=efc)

    def add(self, start, chunk):
        self.index.add(np.arange(start, start + len(chunk)), chunk, threads=2)

    def save(self, path):
        self.index.save(path)

    def load(self, path, dimension):
        from usearch.index import Index
        self.index = Index.restore(path)

    def set(self, ef):
        self.index.expansion_search = ef

    def one(self, query, k):
        return self.index.search(query[0], k, threads=1).keys

    def all(self, queries, k):
        return self.index.search(queries, k, threads=1).keys


ENGINES = {
    "hnswlib": Hnswlib,
    "faiss-hnsw": lambda: Faiss(sq8=False),
    "faiss-hnsw-sq8": lambda: Faiss(sq8=True),
    "usearch-f32": lambda: Usearch("f32"),
    "usearch-i8": lambda: Usearch("i8"),
}


def peak_mb():
    """The most memory that this process held at once; Linux only. (`ru_maxrss` would count the parent's too.)"""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def build(engine, arguments):
    rows = Rows(arguments.rows)
    clock = time.perf_counter()
    engine.create(rows, arguments.m, arguments.efc)
    took = time.perf_counter() - clock
    # In one call where memory allows it, as peers are used; only a call's own time counts.
    whole = rows.count <= 200_000
    chunks = [(0, normalised(rows.raw[:]))] if whole else rows.chunks()
    for start, chunk in chunks:
        clock = time.perf_counter()
        engine.add(start, chunk)
        took += time.perf_counter() - clock
    peak = peak_mb()
    engine.save(arguments.index)
    print(json.dumps({"build_s": took, "rows": rows.count, "peak_mb": peak}), flush=True)


def search(engine, arguments):
    queries = normalised(np.load(arguments.queries))
    clock = time.perf_counter()
    engine.load(arguments.index, queries.shape[1])
    open_ms = (time.perf_counter() - clock) * 1e3
    k = arguments.k
    single = [query[None] for query in queries]
    for setting in arguments.settings.split(","):
        engine.set(int(setting))
        ids = [[int(n) for n in engine.one(query, k)] for query in single]
        for query in single[:WARM_UP]:
            engine.one(query, k)
        latencies = []
        begun = time.perf_counter()
        while time.perf_counter() - begun < arguments.seconds:
            for query in single:
                clock = time.perf_counter()
                engine.one(query, k)
                latencies.append(time.perf_counter() - clock)
        passes, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < arguments.seconds:
            engine.all(queries, k)
            passes += 1
        batch = passes * len(queries) / (time.perf_counter() - begun)
        latencies = np.sort(latencies)
        at = lambda part: float(latencies[int(len(latencies) * part)] * 1e6)
        print(json.dumps({
            "setting": setting, "qps": len(latencies) / latencies.sum(), "batch_qps": batch, "p50_us": at(0.5),
            "p95_us": at(0.95), "p99_us": at(0.99), "open_ms": open_ms, "peak_mb": peak_mb(), "ids": ids,
        }), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["build", "search"])
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--rows")
    parser.add_argument("--index", required=True)
    parser.add_argument("--queries")
    parser.add_argument("--settings")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--efc", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.3)
    typed = parser.parse_args()
    {"build": build, "search": search}[typed.verb](ENGINES[typed.engine](), typed)
