#!/usr/bin/env python3
"""vecdb's encoder beside the encoders people use: the same texts, the same weights, one run, one table.

    pip install numpy onnxruntime tokenizers fastembed chromadb
    cargo build --release && target/release/vecdb model export ONNX_FOLDER
    python3 benches/encoders/encoders.py --model ONNX_FOLDER --texts TEXTS.jsonl.gz

TEXTS holds a JSON object with "text" a line. They are cut to 256 tokens before, so that every engine sees the same. Each
engine is measured in turn, round after round, each time in a process of its own; the table gives medians, and ratios are the
medians of the rounds' ratios, because a machine's speed drifts.
"""
import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile

import numpy as np

import peers

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
OURS = "vecdb"
# Special tokens included.
MAX_TOKENS = 256
QUERY_TOKENS = 10


def say(what):
    print(what, file=sys.stderr, flush=True)


def compiled():
    """Our side, compiled."""
    say("compiling vecdb's side")
    command = ["cargo", "build", "--release", "--bench", "encoders", "--message-format", "json"]
    ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for line in ran.stdout.splitlines():
        message = json.loads(line)
        if message.get("target", {}).get("name") == "encoders" and message.get("executable"):
            return message["executable"]
    raise SystemExit("cargo told of no executable")


def answer(command):
    """The JSON line that a process prints last; None if it fails."""
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if ran.returncode != 0:
        say(f"{' '.join(command)}: exit code {ran.returncode}")
        return None
    return json.loads(ran.stdout.splitlines()[-1])


def texts_of(path, count, model):
    """Evenly spread texts, cut to the window, and queries of ten tokens: their beginnings."""
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]

    def cut(text, tokens):
        offsets = tokenizer.encode(text, add_special_tokens=False).offsets
        return text if len(offsets) <= tokens - 2 else text[:offsets[tokens - 3][1]]

    texts = [cut(text, MAX_TOKENS) for text in texts[::max(1, len(texts) // count)][:count]]
    queries = [cut(text, QUERY_TOKENS) for text in texts]
    return texts, [text for text in queries if len(tokenizer.encode(text).ids) == QUERY_TOKENS]


def written(folder, name, texts):
    """A file of one JSON string a line."""
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(text) + "\n" for text in texts)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--binary", help="our side, compiled already")
    typed = parser.parse_args()
    ours = typed.binary or compiled()
    work = tempfile.mkdtemp()
    texts, queries = texts_of(typed.texts, typed.count, typed.model)
    threads = str(typed.threads)
    shared = ["--texts", written(work, "texts.jsonl", texts), "--queries", written(work, "queries.jsonl", queries),
              "--threads", threads]
    engines = [OURS, *peers.ENGINES]
    seen, machine, vectors = {engine: [] for engine in engines}, [], {}
    for turn in range(typed.rounds):
        for engine in engines:
            say(f"round {turn + 1} of {typed.rounds}: {engine}")
            out = os.path.join(work, engine.replace(" ", "-"))
            arguments = [*shared, "--vectors", out]
            if engine == OURS:
                machine.append(answer([ours, "--peak", "--threads", threads]))
                got = answer([ours, *arguments])
            else:
                peer = [sys.executable, os.path.join(HERE, "peers.py"), engine]
                got = answer([*peer, *arguments, "--model", typed.model])
            if got is None:
                continue
            if engine != OURS:
                got["tokens_per_s"] = seen[OURS][-1]["tokens"] / got["seconds"]
            seen[engine].append(got)
            vectors[engine] = np.fromfile(out, np.float32).reshape(typed.count, -1)

    def median(rows, name):
        return statistics.median(row[name] for row in rows)

    tokens = seen[OURS][0]["tokens"]
    print(f"{typed.count} texts, {tokens:,} tokens, {threads} threads, {typed.rounds} rounds\n")
    print("| encoder | tokens/s | ours is × as fast | ready, ms | query, ms | peak MiB | worst cosine with ours |")
    print("|---|---|---|---|---|---|---|")
    for engine in engines:
        rows = seen[engine]
        if not rows:
            print(f"| {engine} | failed | | | | | |")
            continue
        ratios = [a["tokens_per_s"] / b["tokens_per_s"] for a, b in zip(seen[OURS], rows)]
        ratio = "" if engine == OURS else f"{statistics.median(ratios):.2f}"
        same = (vectors[engine] * vectors[OURS]).sum(1).min()
        print(f"| {engine} | {median(rows, 'tokens_per_s'):,.0f} | {ratio} | {median(rows, 'ready_ms'):.0f} "
              f"| {median(rows, 'query_ms'):.2f} | {median(rows, 'peak_mib'):.0f} | {same:.6f} |")
    useful = [row["gflops"] / peak["peak_gflops"] for row, peak in zip(seen[OURS], machine)]
    print(f"\nMultiply-adds of the real tokens: {median(seen[OURS], 'gflops'):.0f} GFLOP/s of "
          f"{median(machine, 'peak_gflops'):.0f} ({machine[0]['kernel']}): {100 * statistics.median(useful):.0f} %; "
          f"{100 * median(seen[OURS], 'cutting_part'):.1f} % of the time cuts and tokenises.")
    per_query = 1e3 * QUERY_TOKENS * seen[OURS][0]["gflops"] / seen[OURS][0]["tokens_per_s"] / median(machine, "peak_gflops")
    floor = max(median(machine, "stream_ms"), per_query)
    print(f"A query's floor: reading the weights once {median(machine, 'stream_ms'):.2f} ms "
          f"({median(machine, 'stream_gb_per_s'):.0f} GB/s), the arithmetic {per_query:.2f} ms; ours takes "
          f"{median(seen[OURS], 'query_ms') / floor:.2f} × the larger.")


if __name__ == "__main__":
    main()
