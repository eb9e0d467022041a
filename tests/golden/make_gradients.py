"""Gradients of the tiny models in models.zip, by PyTorch: gradients.json.

    python make_gradients.py models.zip gradients.json

Made with torch 1.13.1 and transformers 4.30.2. Of each weight's gradient it holds the length and the products with two
directions, sin(i + 1) and cos(3 i), which tell whether every number is right and take little space.

The losses are those of `encoder/tests/gradients.rs`: the sum of sin(i + 1) times the components of the texts' vectors (mean of the
token vectors), and of the first model the masked words' and the pairs' cross-entropies, once and half, with heads whose n-th number is
0.1 sin(n + 1) (a scale is 1).
"""

import json
import sys
import tempfile
import zipfile

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, BertForPreTraining

TEXTS = [[2, 10, 11, 12, 13, 3, 14, 15, 16, 3], [2, 17, 18, 3, 19, 3]]
SECOND = [6, 4]
GAPS = [[(2, 20), (7, 21)], [(1, 22)]]
FOLLOWS = [True, False]


def padded(first):
    width = max(map(len, TEXTS))
    rows = [text + [first] * (width - len(text)) for text in TEXTS]
    mask = [[1] * len(text) + [0] * (width - len(text)) for text in TEXTS]
    return torch.tensor(rows), torch.tensor(mask)


def summary(model):
    found = {}
    for name, weight in model.named_parameters():
        if weight.grad is None:
            continue
        gradient = weight.grad.double().flatten()
        at = torch.arange(len(gradient), dtype=torch.float64)
        found[name] = [float(gradient.norm()), float(gradient @ torch.sin(at + 1)), float(gradient @ torch.cos(3 * at))]
    return found


def loaded(model, folder):
    """In doubles, so that what differs is ours; and without dropout."""
    weights = load_file(f"{folder}/model.safetensors")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all("position_ids" in name or "pooler" in name for name in missing), (missing, unexpected)
    return model.double().eval()


def pooled(folder):
    model = loaded(AutoModel.from_config(AutoConfig.from_pretrained(folder)), folder)
    ids, mask = padded(model.config.pad_token_id or 0)
    tokens = model(input_ids=ids, attention_mask=mask).last_hidden_state
    weights = mask.unsqueeze(-1).double()
    vectors = (tokens * weights).sum(1) / weights.sum(1)
    factors = torch.sin(torch.arange(vectors.numel(), dtype=torch.float64) + 1)
    (vectors.flatten() @ factors).backward()
    return summary(model)


def pretraining(folder):
    model = BertForPreTraining(AutoConfig.from_pretrained(folder)).double().eval()
    loaded(model.bert, folder)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.startswith("cls.") or "pooler" in name:
                at = torch.arange(weight.numel(), dtype=torch.float64)
                weight.copy_((0.1 * torch.sin(at + 1)).reshape(weight.shape))
                if "LayerNorm.weight" in name:
                    weight.fill_(1.0)
    ids, mask = padded(0)
    types = torch.zeros_like(ids)
    for row, (second, text) in enumerate(zip(SECOND, TEXTS)):
        types[row, second:len(text)] = 1
    labels = torch.full_like(ids, -100)
    for row, gaps in enumerate(GAPS):
        for place, token in gaps:
            labels[row, place] = token
    out = model(input_ids=ids, attention_mask=mask, token_type_ids=types)
    entropy = torch.nn.functional.cross_entropy
    words = entropy(out.prediction_logits.flatten(0, 1), labels.flatten())
    pairs = entropy(out.seq_relationship_logits, torch.tensor([0 if follows else 1 for follows in FOLLOWS]))
    (words + 0.5 * pairs).backward()
    return {"words": float(words), "pairs": float(pairs), "gradients": summary(model)}


def main(models, target):
    with tempfile.TemporaryDirectory() as root:
        zipfile.ZipFile(models).extractall(root)
        made = {"pooled": {name: pooled(f"{root}/{name}") for name in ("bert", "distilbert", "roberta", "mpnet")},
                "pretraining": pretraining(f"{root}/bert")}
    with open(target, "w", encoding="utf-8") as out:
        json.dump(made, out, indent=0, sort_keys=True)
        out.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
