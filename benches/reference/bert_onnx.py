#!/usr/bin/env python3
"""Writes a BERT folder's weights as an ONNX graph, without vecdb.

    pip install numpy onnx safetensors
    python3 bert_onnx.py MODEL_FOLDER model.onnx

Inputs are those of the exports on the Hugging Face hub (`input_ids`, `attention_mask`, `token_type_ids`, all
`[batch, tokens]` i64), and so is the output (`last_hidden_state`, `[batch, tokens, hidden]` f32): plain operators from
Devlin et al. 2018, nothing fused. Where such an export is at hand, it serves as well.
"""
import json
import math
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

OPSET = 20


class Graph:
    """Nodes and constants, in the order in which they are needed."""

    def __init__(self, weights):
        self.weights = weights
        self.nodes = []
        self.constants = {}

    def constant(self, name, value):
        self.constants[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def weight(self, name):
        return self.constant(name, self.weights[name].astype(np.float32))

    def op(self, kind, *inputs, **attributes):
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def linear(self, x, name):
        matrix = self.constant(name + ".transposed", self.weights[name + ".weight"].astype(np.float32).T)
        return self.op("Add", self.op("MatMul", x, matrix), self.weight(name + ".bias"))

    def layer_norm(self, x, name, epsilon):
        return self.op("LayerNormalization", x, self.weight(name + ".weight"), self.weight(name + ".bias"),
                       axis=-1, epsilon=epsilon)


def bert(weights, config):
    assert config["hidden_act"] == "gelu", config["hidden_act"]
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    epsilon = config["layer_norm_eps"]
    g = Graph(weights)
    split = g.constant("split", np.array([0, 0, heads, hidden // heads], np.int64))
    merge = g.constant("merge", np.array([0, 0, hidden], np.int64))
    scale = g.constant("scale", np.array(1 / math.sqrt(hidden // heads), np.float32))

    # What a masked token adds to each attention score: 0 if it is real, a large negative number if it is padding.
    mask = g.op("Unsqueeze", "attention_mask", g.constant("mask_axes", np.array([1, 2], np.int64)))
    padding = g.op("Sub", g.constant("one", np.array(1, np.float32)), g.op("Cast", mask, to=TensorProto.FLOAT))
    masked = g.op("Mul", padding, g.constant("minus", np.array(-1e9, np.float32)))

    length = g.op("Gather", g.op("Shape", "input_ids"), g.constant("axis_1", np.array(1, np.int64)))
    positions = g.op("Range", g.constant("from", np.array(0, np.int64)), length, g.constant("step", np.array(1, np.int64)))
    x = g.op("Gather", g.weight("embeddings.word_embeddings.weight"), "input_ids")
    x = g.op("Add", x, g.op("Gather", g.weight("embeddings.position_embeddings.weight"), positions))
    x = g.op("Add", x, g.op("Gather", g.weight("embeddings.token_type_embeddings.weight"), "token_type_ids"))
    x = g.layer_norm(x, "embeddings.LayerNorm", epsilon)

    for layer in range(config["num_hidden_layers"]):
        base = f"encoder.layer.{layer}"

        def part(name, order):
            return g.op("Transpose", g.op("Reshape", g.linear(x, f"{base}.attention.self.{name}"), split), perm=order)

        query, key, value = part("query", [0, 2, 1, 3]), part("key", [0, 2, 3, 1]), part("value", [0, 2, 1, 3])
        scores = g.op("Add", g.op("Mul", g.op("MatMul", query, key), scale), masked)
        context = g.op("MatMul", g.op("Softmax", scores, axis=-1), value)
        context = g.op("Reshape", g.op("Transpose", context, perm=[0, 2, 1, 3]), merge)
        x = g.layer_norm(g.op("Add", x, g.linear(context, f"{base}.attention.output.dense")),
                         f"{base}.attention.output.LayerNorm", epsilon)
        wide = g.op("Gelu", g.linear(x, f"{base}.intermediate.dense"))
        x = g.layer_norm(g.op("Add", x, g.linear(wide, f"{base}.output.dense")), f"{base}.output.LayerNorm", epsilon)

    g.nodes.append(helper.make_node("Identity", [x], ["last_hidden_state"]))
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
              for name in ("input_ids", "attention_mask", "token_type_ids")]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", hidden])
    graph = helper.make_graph(g.nodes, "bert", inputs, [output], list(g.constants.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def main():
    folder, target = Path(sys.argv[1]), sys.argv[2]
    model = bert(load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text()))
    onnx.checker.check_model(model)
    onnx.save(model, target)


main()
