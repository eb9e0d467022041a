#!/usr/bin/env python3
"""Writes models.zip: tiny random encoders of each architecture, and what the reference implementation makes of texts.

    pip install torch transformers tokenizers safetensors onnx numpy     # made with torch 1.13, transformers 4.40, onnx 1.17
    python3 make_models.py models.zip

A folder a model, in the layout of the Hugging Face hub, and expected.json: for each model and text the token ids and, for
each pooling, the vector in float64 before normalisation. Weights are drawn with a fixed seed; those kept in 16 bits are
rounded before the reference sees them. The folders that bring ONNX files are of an architecture that vecdb does not write.
"""
import json
import os
import sys
import tempfile
import zipfile

import numpy as np
import onnx
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (AlbertConfig, AlbertModel, BertConfig, BertModel, DistilBertConfig, DistilBertModel, MPNetConfig,
                          MPNetModel, RobertaConfig, RobertaModel, XLMRobertaConfig, XLMRobertaModel)

SEED = 7
VOCABULARY = 160
POSITIONS = 64
SHAPE = dict(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
TEXTS = [
    "The river runs to the sea.",
    "Winter came early, and the garden lay under snow until the end of March.",
    "A",
    "Überraschung: naïve cafés in São Paulo!",
    "東京は日本の首都です。",
    "emoji 🎉 and \u200b odd   spaces\n\tand a tab",
    "the river the river the river the river the river",
    "Nobody reads the letters of a doctor who keeps bees, paints windows and mends engines at night.",
]
CORPUS = TEXTS + [
    "The doctor reads a letter at the window of the stone house.",
    "An engine, a market, a garden: the memory of a winter by the river.",
    "Who keeps the bees and mends the windows at night?",
]


def wordpiece(before, after, unknown, pad):
    tokenizer = Tokenizer(models.WordPiece(unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = list(dict.fromkeys([before, pad, after, unknown, "[MASK]"]))
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=specials))
    return enclosed(tokenizer, before, after)


def byte_bpe():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # Every byte is in the vocabulary, so nothing is unknown.
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(CORPUS, trainer)
    ids = {token: tokenizer.token_to_id(token) for token in ("<s>", "</s>")}
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"]),
                                                            add_prefix_space=False)
    return tokenizer


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=VOCABULARY, unk_token="<unk>",
                                      special_tokens=["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.train_from_iterator(CORPUS, trainer)
    return enclosed(tokenizer, "<s>", "</s>")


def enclosed(tokenizer, before, after):
    ids = [(token, tokenizer.token_to_id(token)) for token in (before, after)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{before} $A {after}", special_tokens=ids)
    return tokenizer


def poolings(hidden):
    count = len(hidden)
    weights = np.arange(1, count + 1)
    return {"mean": hidden.mean(0), "cls": hidden[0], "lasttoken": hidden[-1],
            "weightedmean": (hidden * weights[:, None]).sum(0) / weights.sum(),
            "mean_sqrt_len_tokens": hidden.sum(0) / np.sqrt(count)}


class Folder:
    """A model's folder, and what is expected of it."""

    def __init__(self, root, name, config, tokenizer):
        self.path = os.path.join(root, name)
        os.makedirs(os.path.join(self.path, "1_Pooling"))
        self.name, self.tokenizer = name, tokenizer
        self.write("config.json", config)
        self.write("modules.json", [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                                    {"idx": 1, "name": "1", "path": "1_Pooling",
                                     "type": "sentence_transformers.models.Pooling"}])
        self.write("1_Pooling/config.json", {"pooling_mode_mean_tokens": True})
        self.write("sentence_bert_config.json", {"max_seq_length": POSITIONS - 4})
        tokenizer.save(os.path.join(self.path, "tokenizer.json"))

    def write(self, file, value):
        with open(os.path.join(self.path, file), "w", encoding="utf-8") as out:
            json.dump(value, out, indent=1)

    def expected(self, model):
        model = model.double().eval()
        cases = []
        for text in TEXTS:
            ids = self.tokenizer.encode(text).ids
            with torch.no_grad():
                hidden = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                               output_hidden_states=True, output_attentions=True)
            vectors = poolings(hidden.last_hidden_state[0].numpy())
            case = {"text": text, "ids": ids, "vectors": {name: rounded(v) for name, v in vectors.items()}}
            if len(ids) < 16 and self.name in ("bert", "mpnet"):
                case["hidden"] = [rounded(layer[0].numpy().ravel()) for layer in hidden.hidden_states]
                case["attention"] = [rounded(layer[0].numpy().ravel()) for layer in hidden.attentions]
            cases.append(case)
        return cases


def rounded(numbers):
    return [float(f"{x:.8g}") for x in numbers]


def random_weights(model):
    """Larger than usual, so that every part of the network shows in the result."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.copy_(1 + 0.2 * noise if "orm.weight" in name.replace("_norm", "Norm") else 0.25 * noise)
    return model.float()


def main(target):
    torch.manual_seed(SEED)
    bert_tokens = wordpiece("[CLS]", "[SEP]", "[UNK]", "[PAD]")
    mpnet_tokens = wordpiece("<s>", "</s>", "[UNK]", "<pad>")
    bpe, pieces = byte_bpe(), unigram()
    bpe_size = bpe.get_vocab_size()
    sizes = dict(SHAPE, vocab_size=max(VOCABULARY, bert_tokens.get_vocab_size(), pieces.get_vocab_size(),
                                       mpnet_tokens.get_vocab_size()))
    made = [
        ("bert", BertModel, BertConfig(**sizes, max_position_embeddings=POSITIONS), bert_tokens),
        ("distilbert", DistilBertModel,
         DistilBertConfig(vocab_size=sizes["vocab_size"], dim=32, n_layers=2, n_heads=4, hidden_dim=64,
                          max_position_embeddings=POSITIONS), bert_tokens),
        ("roberta", RobertaModel,
         RobertaConfig(**dict(sizes, vocab_size=bpe_size), max_position_embeddings=POSITIONS + 2, type_vocab_size=1,
                       layer_norm_eps=1e-5), bpe),
        ("xlm-roberta", XLMRobertaModel,
         XLMRobertaConfig(**sizes, max_position_embeddings=POSITIONS + 2, type_vocab_size=1, hidden_act="gelu_new"), pieces),
        ("mpnet", MPNetModel, MPNetConfig(**sizes, max_position_embeddings=POSITIONS + 2, hidden_act="relu"), mpnet_tokens),
    ]
    expected = {}
    with tempfile.TemporaryDirectory() as root:
        for name, kind, config, tokenizer in made:
            # The pooler takes no part in sentence vectors.
            model = kind(config) if kind is DistilBertModel else kind(config, add_pooling_layer=False)
            model = random_weights(model)
            folder = Folder(root, name, config.to_dict(), tokenizer)
            weights = {key: value.contiguous() for key, value in model.state_dict().items() if "position_ids" not in key}
            save_file(weights, os.path.join(folder.path, "model.safetensors"))
            expected[name] = folder.expected(model)
            if name != "bert":
                continue
            for numbers, dtype in (("f16", torch.float16), ("bf16", torch.bfloat16)):
                small = {key: value.to(dtype) for key, value in weights.items()}
                folder = Folder(root, f"bert-{numbers}", config.to_dict(), tokenizer)
                save_file(small, os.path.join(folder.path, "model.safetensors"))
                model.float().load_state_dict({key: value.float() for key, value in small.items()}, strict=False)
                expected[folder.name] = folder.expected(model)
            # As checkpoints from TensorFlow with a head on top name them.
            old = {"bert." + key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"):
                   value for key, value in small.items()}
            folder = Folder(root, "bert-old-names", config.to_dict(), tokenizer)
            save_file(old, os.path.join(folder.path, "model.safetensors"))
            expected[folder.name] = expected["bert-bf16"]
            # A dense layer after pooling.
            folder = Folder(root, "bert-dense", config.to_dict(), tokenizer)
            save_file(small, os.path.join(folder.path, "model.safetensors"))
            os.makedirs(os.path.join(folder.path, "2_Dense"))
            dense = {"linear.weight": torch.randn(12, 32) / 3, "linear.bias": torch.randn(12) / 3}
            save_file(dense, os.path.join(folder.path, "2_Dense", "model.safetensors"))
            folder.write("2_Dense/config.json", {"in_features": 32, "out_features": 12, "bias": True,
                                                 "activation_function": "torch.nn.modules.activation.Tanh"})
            with open(os.path.join(folder.path, "modules.json"), encoding="utf-8") as file:
                modules = json.load(file)
            modules.append({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
            folder.write("modules.json", modules)
            matrix, bias = (dense[key].double().numpy() for key in ("linear.weight", "linear.bias"))
            expected[folder.name] = [
                dict(case, vectors={pooling: rounded(np.tanh(matrix @ np.array(vector) + bias))
                                    for pooling, vector in case["vectors"].items()})
                for case in expected["bert-bf16"]]
        onnx_folders(root, sizes, bert_tokens, expected)
        with open(os.path.join(root, "expected.json"), "w", encoding="utf-8") as out:
            json.dump(expected, out)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for below, _, files in sorted(os.walk(root)):
                for file in sorted(files):
                    path = os.path.join(below, file)
                    # A fixed date: the same input gives the same archive.
                    info = zipfile.ZipInfo(os.path.relpath(path, root), (1980, 1, 1, 0, 0, 0))
                    info.compress_type = zipfile.ZIP_DEFLATED
                    with open(path, "rb") as content:
                        archive.writestr(info, content.read())


class Narrow(torch.nn.Module):
    """32-bit ids, no token types."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids.long(), attention_mask.long()).last_hidden_state


class Pooled(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        hidden = self.model(input_ids, attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).float()
        return (hidden * mask).sum(1) / mask.sum(1)


class Whole(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.model(input_ids, attention_mask, token_type_ids).last_hidden_state


def onnx_folders(root, sizes, tokenizer, expected):
    config = AlbertConfig(**sizes, embedding_size=16, max_position_embeddings=POSITIONS)
    model = random_weights(AlbertModel(config, add_pooling_layer=False)).eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    for name, module, count, dtype, output in (("onnx-i64", Whole(model), 3, torch.int64, "last_hidden_state"),
                                               ("onnx-i32", Narrow(model), 2, torch.int32, "token_embeddings"),
                                               ("onnx-pooled", Pooled(model), 2, torch.int64, "sentence_embedding"),
                                               ("onnx-external", Whole(model), 3, torch.int64, "last_hidden_state")):
        folder = Folder(root, name, config.to_dict(), tokenizer)
        os.makedirs(os.path.join(folder.path, "onnx"))
        path = os.path.join(folder.path, "onnx", "model.onnx")
        inputs = [torch.ones(2, 7, dtype=dtype) for _ in range(count)]
        axes = {key: {0: "batch", 1: "tokens"} for key in names[:count]}
        axes[output] = {0: "batch"} if output == "sentence_embedding" else {0: "batch", 1: "tokens"}
        torch.onnx.export(module.float(), tuple(inputs), path, input_names=names[:count], output_names=[output],
                          dynamic_axes=axes, opset_version=14)
        if name == "onnx-external":
            graph = onnx.load(path)
            onnx.save(graph, path, save_as_external_data=True, location="model.onnx_data", size_threshold=64)
    cases = folder.expected(model)
    for name in ("onnx-i64", "onnx-i32", "onnx-external"):
        expected[name] = cases
    expected["onnx-pooled"] = [dict(case, vectors={"mean": case["vectors"]["mean"]}) for case in cases]


if __name__ == "__main__":
    main(sys.argv[1])
