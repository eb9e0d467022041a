#!/usr/bin/env python3
"""Writes minilm.json: sentence vectors of all-MiniLM-L6-v2, computed without ONNX Runtime and without vecdb.

    pip install numpy tokenizers safetensors
    python3 make_minilm.py MODEL_FOLDER > minilm.json

The forward pass is BERT (Devlin et al. 2018) in float64, so its rounding is far below the 1e-5 that the test allows.
Every text is short enough for one window; the vectors are the mean of the token vectors, scaled to length 1.
"""
import json
import math
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

TEXTS = [
    "Sled is an embedded store.",
    "a",
    " ",
    "",
    "The quick brown fox jumps over the lazy dog; it does so again and again, without any visible sign of fatigue.",
    "Größe, naïve café, señor, Ångström — and “quotes”…",
    "東京は日本の首都です。",
    "北京是中华人民共和国的首都",
    "한국어 문장도 하나 있습니다.",
    "Привет, мир! Как дела?",
    "مرحبا بالعالم",
    "🙂 👩‍👩‍👧‍👦 emoji 🎉 in a sentence",
    "fn main() { println!(\"{:?}\", vec![1, 2, 3]); }",
    "\t tabs\nand lines\r\n  and   spaces  ",
    "An approximate nearest-neighbour index answers queries by walking a graph. " * 14,
]

erf = np.vectorize(math.erf)


def layer_norm(x, weights, name, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return scaled * weights[name + ".weight"] + weights[name + ".bias"]


def linear(x, weights, name):
    return x @ weights[name + ".weight"].T + weights[name + ".bias"]


def forward(ids, weights, config):
    heads = config["num_attention_heads"]
    size = config["hidden_size"] // heads
    epsilon = config["layer_norm_eps"]
    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    x = layer_norm(x, weights, "embeddings.LayerNorm", epsilon)
    for layer in range(config["num_hidden_layers"]):
        base = f"encoder.layer.{layer}"
        query, key, value = (
            linear(x, weights, f"{base}.attention.self.{part}").reshape(-1, heads, size).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(size)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        attention = scores / scores.sum(-1, keepdims=True)
        context = (attention @ value).transpose(1, 0, 2).reshape(len(ids), -1)
        x = layer_norm(x + linear(context, weights, f"{base}.attention.output.dense"), weights,
                       f"{base}.attention.output.LayerNorm", epsilon)
        wide = linear(x, weights, f"{base}.intermediate.dense")
        wide = wide * 0.5 * (1 + erf(wide / math.sqrt(2)))
        x = layer_norm(x + linear(wide, weights, f"{base}.output.dense"), weights, f"{base}.output.LayerNorm", epsilon)
    return x


def main():
    folder = Path(sys.argv[1])
    config = json.loads((folder / "config.json").read_text())
    assert config["hidden_act"] == "gelu"
    weights = {name: w.astype(np.float64) for name, w in load_file(folder / "model.safetensors").items()}
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    rows = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        assert len(ids) <= 256, len(ids)
        vector = forward(ids, weights, config).mean(0)
        vector /= np.linalg.norm(vector)
        rows.append({"text": text, "tokens": len(ids), "vector": [float(f"{x:.8g}") for x in vector]})
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    print(f"[\n{lines}\n]")


main()
