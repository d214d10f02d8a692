#!/usr/bin/env python3
"""Makes tests/data/onnx: small ONNX files for the reader's test, one good and several that must be refused. Never run in CI.
Pinned: onnx 1.23.2, numpy 2.4.6.    usage: onnx_files.py OUTPUT_FOLDER"""
import sys
from pathlib import Path
import numpy as np
import onnx
from onnx import TensorProto as T, helper as h, numpy_helper as nh

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
x = h.make_tensor_value_info("x", T.FLOAT, ["N", 3, 4])
y = h.make_tensor_value_info("y", T.FLOAT, None)


def save(name, nodes, initializers=(), inputs=(x,), outputs=(y,)):
    graph = h.make_graph(list(nodes), "g", list(inputs), list(outputs), list(initializers))
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17), h.make_opsetid("other", 1)], producer_name="test", ir_version=8)
    h.set_model_props(model, {"likeness.size": "128", "note": "größe"})
    (out / f"{name}.onnx").write_bytes(model.SerializeToString())


values = {"float32": [1.5, -2], "float16": [0.5, -3], "float64": [0.1, 1e30], "int64": [-7, 1 << 40], "int32": [-7, 7], "int16": [-300, 300],
          "int8": [-1, 127], "uint8": [0, 255], "uint16": [0, 65535], "bool": [True, False], "uint32": [1, 4294967295]}
raw = [nh.from_array(np.array(v, k), "raw_" + k) for k, v in values.items()]
listed = [h.make_tensor("list_" + k, getattr(T, k), [2], v) for k, v in
          {"FLOAT": [1.5, -2], "FLOAT16": [0.5, -3], "BFLOAT16": [1, -2], "DOUBLE": [0.25, 4], "INT64": [-7, 1 << 40], "INT32": [-7, 7], "INT8": [-1, 127], "BOOL": [1, 0]}.items()]
scalar = nh.from_array(np.float32(2.5), "scalar")
nodes = [h.make_node("Custom", ["x", "", "raw_float32"], ["t"], name="first", domain="other", i=-5, f=0.5, s="text", ints=[1, -2, 3], floats=[0.5, 2.0],
                     strings=["a", "ü"], t=nh.from_array(np.arange(6, dtype=np.int64).reshape(2, 3), "inner")),
         h.make_node("Add", ["t", "scalar"], ["y"])]
kept = h.make_tensor_value_info("scalar", T.FLOAT, [])
save("good", nodes, raw + listed + [scalar], inputs=[x, kept])

branch = h.make_graph([h.make_node("Identity", ["x"], ["b"])], "b", [], [h.make_tensor_value_info("b", T.FLOAT, None)])
save("graph_attribute", [h.make_node("If", ["x"], ["y"], name="choice", then_branch=branch, else_branch=branch)])
save("backwards", [h.make_node("Relu", ["t"], ["y"], name="late"), h.make_node("Relu", ["x"], ["t"])])
save("twice", [h.make_node("Relu", ["x"], ["y"]), h.make_node("Relu", ["x"], ["y"])])
save("no_output", [h.make_node("Relu", ["x"], ["t"])])
outside = nh.from_array(np.zeros(4, np.float32), "w")
outside.ClearField("raw_data")
outside.data_location = T.EXTERNAL
outside.external_data.add(key="location", value="/etc/passwd")
save("external", [h.make_node("Add", ["x", "w"], ["y"])], [outside])
short = nh.from_array(np.zeros(4, np.float32), "w")
short.dims[0] = 5
save("short", [h.make_node("Add", ["x", "w"], ["y"])], [short])
huge = nh.from_array(np.zeros(4, np.float32), "w")
huge.dims.extend([1 << 32, 1 << 32])
save("huge", [h.make_node("Add", ["x", "w"], ["y"])], [huge])
odd = h.make_tensor("w", T.STRING, [1], [b"x"])
save("strings", [h.make_node("Add", ["x", "w"], ["y"])], [odd])
