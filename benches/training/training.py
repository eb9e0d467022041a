#!/usr/bin/env python3
"""vecdb's training beside PyTorch's: the same model, pairs, batches and loss, one run, one table.

    pip install torch transformers
    cargo build --release
    python3 benches/training/training.py --vecdb target/release/vecdb --model MODEL_FOLDER --texts CORPUS.jsonl

TEXTS holds a JSON object with "text" a line. Of each long enough text the halves are a pair, cut to 64 tokens on either side, so
that nothing is padding. All layers are trained in f32 without dropout, the tables of words and positions are frozen; AdamW, the
contrastive loss over 32 pairs. Each side is measured in turn, round after round, in a process of its own; ratios are the medians
of the rounds' ratios, because a machine's speed drifts.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOKENS = 64
BATCH = 32


def pairs_of(path, count):
    pairs = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            words = json.loads(line)["text"].split()
            if len(words) >= 4 * TOKENS:
                middle = len(words) // 2
                pairs.append({"query": " ".join(words[:middle]), "positive": " ".join(words[middle:])})
            if len(pairs) == count:
                return pairs
    raise SystemExit(f"only {len(pairs)} texts are long enough")


def vecdb(arguments, file, folder):
    out = os.path.join(folder, "tuned")
    shutil.rmtree(out, ignore_errors=True)
    command = [arguments.vecdb, "tune", "--pairs", file, "--out", out, "--method", "all", "--epochs", "1", "--batch", str(BATCH)]
    command += ["--negatives", "0", "--max-tokens", str(TOKENS), "--model", arguments.model, "--json", "--quiet"]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if ran.returncode not in (0, 1):
        raise SystemExit(f"vecdb: exit code {ran.returncode}")
    with open(os.path.join(out, "tuning.json"), encoding="utf-8") as report:
        course = json.load(report)["attempts"][0]["course"]
    return {"tokens": course["tokens"] / course["seconds"], "loss": course["losses"][0][1]}


def torch_side(arguments, file):
    command = [sys.executable, os.path.abspath(__file__), "--side", file, "--model", arguments.model]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


def side(model_folder, file):
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.manual_seed(1)
    torch.set_num_threads(os.cpu_count())
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModel.from_pretrained(model_folder).eval()
    for parameter in model.embeddings.parameters():
        parameter.requires_grad = False
    model.embeddings.LayerNorm.requires_grad_(True)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=5e-5, weight_decay=0.01)
    with open(file, encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines]

    def vectors(texts):
        given = tokenizer(texts, truncation=True, max_length=TOKENS, padding=True, return_tensors="pt")
        tokens = model(**given).last_hidden_state
        mask = given["attention_mask"].unsqueeze(-1)
        return torch.nn.functional.normalize((tokens * mask).sum(1) / mask.sum(1), dim=-1), int(mask.sum())

    count, first, start = 0, None, time.perf_counter()
    for at in range(0, len(pairs) - BATCH + 1, BATCH):
        batch = pairs[at:at + BATCH]
        queries, some = vectors([pair["query"] for pair in batch])
        passages, others = vectors([pair["positive"] for pair in batch])
        loss = torch.nn.functional.cross_entropy(20 * queries @ passages.T, torch.arange(len(batch)))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        count += some + others
        first = loss.item() if first is None else first
    print(json.dumps({"tokens": count / (time.perf_counter() - start), "loss": first, "torch": torch.__version__}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vecdb")
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=640)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        return side(arguments.model, arguments.side)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "pairs.jsonl")
        with open(file, "w", encoding="utf-8") as lines:
            for pair in pairs_of(arguments.texts, arguments.pairs):
                lines.write(json.dumps(pair) + "\n")
        for number in range(arguments.rounds):
            ours.append(vecdb(arguments, file, folder))
            theirs.append(torch_side(arguments, file))
            print(f"round {number + 1}: vecdb {ours[-1]['tokens']:.0f}, PyTorch {theirs[-1]['tokens']:.0f} tokens/s", file=sys.stderr)
    ratios = [a["tokens"] / b["tokens"] for a, b in zip(ours, theirs)]
    print(f"| | tokens/s | first loss |\n|---|---|---|")
    print(f"| vecdb | {statistics.median(a['tokens'] for a in ours):.0f} | {ours[0]['loss']:.3f} |")
    print(f"| PyTorch {theirs[0]['torch']} | {statistics.median(b['tokens'] for b in theirs):.0f} | {theirs[0]['loss']:.3f} |")
    print(f"\nvecdb / PyTorch: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
