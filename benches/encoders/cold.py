"""Cold start: one query from process start to output, by `vecdb query` and by chroma in a fresh Python process.

    pip install chromadb
    target/release/vecdb model export ONNX_FOLDER
    python3 benches/encoders/cold.py --model ONNX_FOLDER --documents DOCUMENTS.jsonl

Both hold the same passages with the same vectors: vecdb's own, exported and given to chroma. The file cache is warm. Chroma's
process does as little as it can: it opens its collection, encodes the question with its built-in all-MiniLM-L6-v2 and asks.
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

QUERY = "play music from the terminal"
HITS = 10
# Chroma refuses larger calls.
CHUNK = 5_000

CHROMA = """
import sys
import chromadb
from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2
ONNXMiniLM_L6_V2.DOWNLOAD_PATH = sys.argv[1]
encode = ONNXMiniLM_L6_V2(preferred_providers=["CPUExecutionProvider"])
notes = chromadb.PersistentClient(sys.argv[2]).get_collection("notes", embedding_function=encode)
for id in notes.query(query_texts=[sys.argv[3]], n_results=int(sys.argv[4]))["ids"][0]:
    print(id)
"""


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stderr}")
    return done.stdout


def timed(command, runs):
    """Milliseconds: median, fastest, slowest; and what the last run printed."""
    waits, printed = [], run(command)
    for _ in range(runs):
        start = time.perf_counter()
        printed = run(command)
        waits.append((time.perf_counter() - start) * 1e3)
    return statistics.median(waits), min(waits), max(waits), printed


def fill_chroma(folder, exported):
    """The exported passages as a collection of chroma's; how many."""
    import chromadb
    # Without a function of its own to make vectors with: they are all given.
    notes = chromadb.PersistentClient(folder).create_collection("notes", embedding_function=None,
                                                                metadata={"hnsw:space": "cosine"})
    ids, texts, vectors = [], [], []
    with open(exported, encoding="utf-8") as lines:
        for line in lines:
            document = json.loads(line)
            # The first line tells of the collection.
            for nth, passage in enumerate(document.get("passages", [])):
                ids.append(f"{document['id']}#{nth}")
                texts.append(document["text"].encode()[passage["start"]:passage["end"]].decode())
                vectors.append(passage["vector"])
    for at in range(0, len(ids), CHUNK):
        part = slice(at, at + CHUNK)
        notes.add(ids=ids[part], documents=texts[part], embeddings=vectors[part])
    return len(ids)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default="target/release/vecdb")
    parser.add_argument("--model", required=True, help="folder that `vecdb model export` wrote")
    parser.add_argument("--documents", required=True, help="JSON lines that make about 5,000 passages")
    parser.add_argument("--runs", type=int, default=20)
    typed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs, exported = (os.path.join(folder, name) for name in ("ours.vecdb", "chroma", "export.jsonl"))
        run([typed.binary, "-q", "ingest", typed.documents, "--db", ours])
        run([typed.binary, "-q", "export", exported, "--vectors", "--db", ours])
        passages = fill_chroma(theirs, exported)
        model = os.path.join(folder, "model")
        shutil.copytree(typed.model, os.path.join(model, "onnx"))
        vecdb = timed([typed.binary, "query", QUERY, "-k", str(HITS), "--db", ours, "--json"], typed.runs)
        chroma = timed([sys.executable, "-c", CHROMA, model, theirs, QUERY, str(HITS)], max(typed.runs // 2, 3))
        found = [json.loads(line)["id"] for line in vecdb[3].splitlines()]
        same = len(set(found) & {id.rsplit("#", 1)[0] for id in chroma[3].split()})
        print(f"{passages} passages; of {HITS} documents found, both find {same}")
        for name, (median, fastest, slowest, _) in (("vecdb", vecdb), ("chroma", chroma)):
            print(f"{name}: {median:.0f} ms ({fastest:.0f} to {slowest:.0f})")
        print(f"vecdb is {chroma[0] / vecdb[0]:.1f} times as fast")
