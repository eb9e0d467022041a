#!/usr/bin/env python3
"""nDCG@10 of a BEIR folder by plain ONNX Runtime and an exact search: the figure that `vecdb eval` should come near.

    pip install numpy onnx onnxruntime safetensors tokenizers
    cargo run --release --example windows -- SCIFACT/corpus.jsonl > windows.jsonl
    python3 benches/reference/bert_onnx.py MODEL_FOLDER model.onnx
    python3 benches/reference/scifact_ndcg.py --beir SCIFACT --model MODEL_FOLDER --onnx model.onnx --windows windows.jsonl

Only the places where long texts are cut come from vecdb. Here each window is "title text[range]" through the tokenizer of
the model folder, a graph that vecdb did not write, the mean over its tokens, scaled to length 1; a document scores as its
best window does, in float32, over all windows. nDCG has linear gains, as trec_eval and BEIR have. Without --windows each
document is one text cut off at --max-tokens: what the usual loop by hand does.
"""
import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


class Encoder:
    def __init__(self, folder, graph, max_tokens, threads):
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_tokens)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def encode(self, texts, batch=32):
        """`[len(texts), hidden]` f32, unit length. Texts of similar length share a batch."""
        ids = [e.ids for e in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        vectors = [None] * len(ids)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            width = max(len(ids[i]) for i in rows)
            tokens = np.zeros((len(rows), width), np.int64)
            mask = np.zeros_like(tokens)
            for row, i in enumerate(rows):
                tokens[row, : len(ids[i])] = ids[i]
                mask[row, : len(ids[i])] = 1
            inputs = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(tokens)}
            hidden = self.session.run(["last_hidden_state"], inputs)[0]
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
            unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
            for row, i in enumerate(rows):
                vectors[i] = unit[row]
        return np.array(vectors, np.float32), sum(map(len, ids))


def passages(corpus, windows):
    """Texts, and the number of the document that each is of."""
    texts, owners = [], []
    for number, document in enumerate(corpus):
        title, text = document.get("title") or "", document["text"]
        ranges = windows[document["_id"]] if windows else [[0, len(text.encode())]]
        # A title too long to be repeated has windows of its own; then none stands before the text.
        alone = [r for r in ranges if r[1] == 0]
        assert len(alone) <= 1, "a title of several windows cannot be told apart here"
        for start, end in ranges:
            part = text.encode()[start:end].decode()
            given = title if end == 0 else part if alone else f"{title} {part}"
            texts.append(given)
            owners.append(number)
    return texts, np.array(owners)


def ndcg(ranked, judged, depth):
    gain = sum(judged.get(d, 0) / math.log2(rank + 2) for rank, d in enumerate(ranked[:depth]))
    best = sorted(judged.values(), reverse=True)[:depth]
    return gain / sum(g / math.log2(rank + 2) for rank, g in enumerate(best))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--beir", type=Path, required=True, help="folder with corpus.jsonl, queries.jsonl and qrels/")
    p.add_argument("--split", default="test")
    p.add_argument("--model", type=Path, required=True, help="folder with tokenizer.json")
    p.add_argument("--onnx", required=True, help="the model's graph, with last_hidden_state as output")
    p.add_argument("--windows", type=Path, help="output of the example `windows`")
    p.add_argument("--run", type=Path, help="writes the best 100 of each query here, in trec_eval's format")
    p.add_argument("--max-tokens", type=int, default=256)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    a = p.parse_args()

    judgements = {}
    for line in (a.beir / "qrels" / f"{a.split}.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        judgements.setdefault(query, {})[document] = int(grade)
    judgements = {query: judged for query, judged in judgements.items() if max(judged.values()) > 0}
    queries = [q for q in lines(a.beir / "queries.jsonl") if q["_id"] in judgements]
    assert len(queries) == len(judgements), "a judged query is missing"
    corpus = lines(a.beir / "corpus.jsonl")
    windows = {w["id"]: w["windows"] for w in lines(a.windows)} if a.windows else None

    encoder = Encoder(a.model, a.onnx, a.max_tokens, a.threads)
    texts, owners = passages(corpus, windows)
    started = time.perf_counter()
    vectors, tokens = encoder.encode(texts)
    seconds = time.perf_counter() - started
    asked, _ = encoder.encode([q["text"] for q in queries])

    total, run = 0.0, []
    for query, vector in zip(queries, asked):
        scores = np.full(len(corpus), -2.0, np.float32)
        np.maximum.at(scores, owners, vectors @ vector)
        best = np.argsort(-scores, kind="stable")[:100]
        total += ndcg([corpus[i]["_id"] for i in best], judgements[query["_id"]], 10)
        run += [f"{query['_id']} Q0 {corpus[i]['_id']} {rank} {scores[i]} exact" for rank, i in enumerate(best, 1)]
    if a.run:
        a.run.write_text("\n".join(run) + "\n")
    print(json.dumps({"ndcg@10": round(total / len(queries), 5), "queries": len(queries), "documents": len(corpus),
                      "passages": len(texts), "tokens": tokens, "seconds": round(seconds, 1),
                      "passages_per_s": round(len(texts) / seconds, 1)}))


main()
