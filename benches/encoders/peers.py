"""One peer's side of the comparison, in a process of its own, so that its memory is its own; encoders.py runs it.

    peers.py ENGINE --texts TEXTS.jsonl --queries QUERIES.jsonl --model FOLDER --threads 2 --vectors OUT.f32

FOLDER holds model.onnx (input_ids, attention_mask, token_type_ids → last_hidden_state), tokenizer.json and the settings.
Prints the same JSON line as vecdb's side.
"""
import argparse
import json
import os
import resource
import shutil
import tempfile
import time

import numpy as np

QUERIES = 60
WARM_UP = 40


class ByHand:
    """ONNX Runtime as a careful user calls it: sorted by length, batches of 32, padded to the longest, pooled by numpy."""

    def __init__(self, model, threads):
        import onnxruntime
        from tokenizers import Tokenizer
        self.tokenizer = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(256)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(os.path.join(model, "model.onnx"), options,
                                                    providers=["CPUExecutionProvider"])

    def encode(self, texts):
        lists = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        order = np.argsort([len(ids) for ids in lists], kind="stable")
        vectors = [None] * len(lists)
        for start in range(0, len(order), 32):
            rows = order[start:start + 32]
            width = max(len(lists[row]) for row in rows)
            ids = np.zeros((len(rows), width), np.int64)
            mask = np.zeros_like(ids)
            for at, row in enumerate(rows):
                ids[at, :len(lists[row])] = lists[row]
                mask[at, :len(lists[row])] = 1
            feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            hidden = self.session.run(None, feed)[0]
            for row, vector in zip(rows, (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)):
                vectors[row] = vector
        return np.array(vectors)


class FastEmbed:
    def __init__(self, model, threads):
        from fastembed import TextEmbedding
        from fastembed.common.model_description import ModelSource, PoolingType
        TextEmbedding.add_custom_model(model="local/model", pooling=PoolingType.MEAN, normalization=True,
                                       sources=ModelSource(url="file:///none"), dim=384, model_file="model.onnx")
        self.engine = TextEmbedding("local/model", specific_model_path=model, threads=threads)

    def encode(self, texts):
        return np.array(list(self.engine.embed(texts)))


class Chroma:
    def __init__(self, model, threads):
        from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2
        folder = tempfile.mkdtemp()
        shutil.copytree(model, os.path.join(folder, "onnx"))
        ONNXMiniLM_L6_V2.DOWNLOAD_PATH = folder
        self.engine = ONNXMiniLM_L6_V2(preferred_providers=["CPUExecutionProvider"])

    def encode(self, texts):
        return np.array(self.engine(texts))


ENGINES = {"onnxruntime by hand": ByHand, "fastembed": FastEmbed, "chroma": Chroma}


def strings(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--queries", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vectors", required=True)
    typed = parser.parse_args()
    texts, queries = strings(typed.texts), strings(typed.queries)

    start = time.perf_counter()
    engine = ENGINES[typed.engine](typed.model, typed.threads)
    engine.encode(queries[:1])
    ready = time.perf_counter() - start
    for text in texts[:WARM_UP]:
        engine.encode([text])
    start = time.perf_counter()
    vectors = np.asarray(engine.encode(texts), np.float32)
    took = time.perf_counter() - start
    waits = []
    for at in range(QUERIES):
        start = time.perf_counter()
        engine.encode([queries[at % len(queries)]])
        waits.append(time.perf_counter() - start)
    (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32).tofile(typed.vectors)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"seconds": took, "ready_ms": ready * 1e3, "query_ms": sorted(waits)[QUERIES // 2] * 1e3,
                      "peak_mib": peak}))
