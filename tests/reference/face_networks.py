"""Small networks of the shapes that face guidance meets, with random weights: detectors and encoders for faces.py and
guided_faces.py.

The detectors (frames of 32 x 32) find faces where their biases say, whatever the picture shows, one of them only in bright
pictures; so tests know what is found.
"""
import os
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

LEVELS = (8, 16, 32)
ONE = (2, 1, 11)
TWO = [(0, 0, 12), (9, 8, 7)]


def half(rng, *shape, scale=1.0):
    """Exact in f16."""
    return (rng.normal(size=shape) * scale).astype(np.float16).astype(np.float32)


def save(path, nodes, weights, inputs, outputs, opset=13, metadata=None):
    graph = helper.make_graph(nodes, 'faces', [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs],
                              [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs],
                              [numpy_helper.from_array(v, k) for k, v in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)], producer_name='likeness')
    model.ir_version = 8
    if metadata:
        helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_scrfd(path):
    """Three strides, two anchors a cell, outputs named by numbers and grouped by kind, as in SCRFD's files."""
    rng = np.random.default_rng(8)
    nodes, weights, outputs, x, width = [], {}, [], 'pixels', 3

    def conv(name, x, inside, outside, kernel, stride, scale):
        weights[name + '.w'] = half(rng, outside, inside, kernel, kernel, scale=scale / (inside * kernel * kernel) ** 0.5)
        weights[name + '.b'] = half(rng, outside, scale=0.1)
        nodes.append(helper.make_node('Conv', [x, name + '.w', name + '.b'], [name], kernel_shape=[kernel] * 2,
                                      strides=[stride] * 2, pads=[kernel // 2] * 4))
        return name

    weights['two'] = np.array([-1, 1], np.int64)
    names = {'score': ['448', '471', '494'], 'box': ['451', '474', '497'], 'points': ['454', '477', '500']}
    for i in range(5):
        x = conv(f'c{i}', x, width, 8, 3, 2, 1.6)
        nodes.append(helper.make_node('Relu', [x], [x + '.r']))
        x, width = x + '.r', 8
        if i < 2:
            continue
        for kind, size in (('score', 1), ('box', 4), ('points', 10)):
            y = conv(f'{kind}{i}', x, 8, 2 * size, 3, 1, 2.0)
            nodes.append(helper.make_node('Transpose', [y], [y + '.t'], perm=[0, 2, 3, 1]))
            weights[f'rows{size}'] = np.array([-1, size], np.int64)
            name = names[kind][i - 2]
            last = y + '.f'
            nodes.append(helper.make_node('Reshape', [y + '.t', f'rows{size}'], [last if kind != 'points' else name]))
            if kind == 'score':
                nodes.append(helper.make_node('Sigmoid', [last], [name]))
            if kind == 'box':                                        # distances are positive
                nodes.append(helper.make_node('Exp', [last], [name]))
    cells = lambda i: 2 * (160 >> i + 3) * (352 >> i + 3)
    outputs = [(names[k][i], [cells(i), n]) for k, n in (('score', 1), ('box', 4), ('points', 10)) for i in range(3)]
    del weights['two']
    save(path, nodes, weights, [('pixels', [1, 3, 160, 352])], outputs, 11)


def face_points(x, y, side):
    """Five points of a face in the middle of a square."""
    return [[x + side * a, y + side * b] for a, b in ((.31, .42), (.69, .41), (.5, .62), (.34, .8), (.67, .79))]


def write_detector(path, faces, brightness=None, steep=4.0):
    """YuNet's twelve outputs for frames of 32 x 32: `faces` are (x, y, side) with centres in different cells of stride 8.
    brightness: faces are there only while the mean of the picture (0..255, over the whole frame) is above it."""
    score = np.full((16, 1), -9, np.float32)
    box, points = np.zeros((16, 4), np.float32), np.zeros((16, 10), np.float32)
    for x, y, side in faces:
        column, row = int((x + side / 2) // 8), int((y + side / 2) // 8)
        i = row * 4 + column
        score[i] = 9 - 0.5 * (x + y) / 32
        box[i] = [(x + side / 2) / 8 - column, (y + side / 2) / 8 - row, np.log(side / 8), np.log(side / 8)]
        points[i] = [v / 8 - c for p in face_points(x, y, side) for v, c in zip(p, (column, row))]
    nodes, weights, outputs = [], {}, []
    weights['mean.w'] = np.full((1, 3, 32, 32), 1 / 2048, np.float32)         # exact in f16: 3/2 of the mean
    nodes.append(helper.make_node('Conv', ['input', 'mean.w'], ['mean'], kernel_shape=[32, 32]))
    weights['one'] = np.array([1, 1, 1], np.int64)
    nodes.append(helper.make_node('Reshape', ['mean', 'one'], ['brightness']))
    weights['steep'] = np.array([0.0 if brightness is None else steep / 1.5], np.float32)
    weights['edge'] = np.array([0.0 if brightness is None else -steep * brightness], np.float32)
    nodes += [helper.make_node('Mul', ['brightness', 'steep'], ['scaled']), helper.make_node('Add', ['scaled', 'edge'], ['light'])]
    weights['nothing'] = np.array([0], np.float32)
    nodes.append(helper.make_node('Mul', ['brightness', 'nothing'], ['none']))
    for stride in LEVELS:
        n = (32 // stride) ** 2
        first = stride == 8
        for kind, value in (('cls', score if first else np.full((n, 1), -9, np.float32)), ('obj', np.full((n, 1), 9 if brightness is None else 0, np.float32)),
                            ('bbox', box if first else np.zeros((n, 4), np.float32)),
                            ('kps', points if first else np.zeros((n, 10), np.float32))):
            name = f'{kind}_{stride}'
            weights[name + '.v'] = value[None]
            light = kind == 'obj' and brightness is not None
            nodes.append(helper.make_node('Add', ['light' if light else 'none', name + '.v'],
                                          [name + '.a' if kind in ('cls', 'obj') else name]))
            if kind in ('cls', 'obj'):
                nodes.append(helper.make_node('Sigmoid', [name + '.a'], [name]))
            outputs.append((name, [1, n, value.shape[1]]))
    order = [f'{k}_{s}' for k in ('cls', 'obj', 'bbox', 'kps') for s in LEVELS]
    outputs.sort(key=lambda o: order.index(o[0]))
    save(path, nodes, weights, [('input', [1, 3, 32, 32])], outputs)


def write_encoder(path, seed, side, width, metadata=None):
    """Stride 4 twice, then a linear layer."""
    rng = np.random.default_rng(seed)
    rows = (side // 16) ** 2 * 8
    weights = {'a.w': half(rng, 6, 3, 4, 4, scale=0.3), 'a.b': half(rng, 6, scale=0.1), 's': half(rng, 6, 1, 1, scale=0.3),
               'b.w': half(rng, 8, 6, 4, 4, scale=0.2), 'b.b': half(rng, 8, scale=0.1), 'c.w': half(rng, width, rows, scale=0.1),
               'c.b': half(rng, width, scale=0.1)}
    nodes = [helper.make_node('Conv', ['pixels', 'a.w', 'a.b'], ['a'], kernel_shape=[4, 4], strides=[4, 4],
                              pads=[0] * 4, dilations=[1, 1], group=1),
             helper.make_node('PRelu', ['a', 's'], ['p']),
             helper.make_node('Conv', ['p', 'b.w', 'b.b'], ['b'], kernel_shape=[4, 4], strides=[4, 4],
                              pads=[0] * 4, dilations=[1, 1], group=1),
             helper.make_node('Flatten', ['b'], ['f'], axis=1),
             helper.make_node('Gemm', ['f', 'c.w', 'c.b'], ['embedding'], transB=1)]
    save(path, nodes, weights, [('pixels', ['N', 3, side, side])], [('embedding', ['N', width])], 13, metadata)


def write_tokens(path, pooled):
    """Mean colours of the four quarters of a picture of 8 x 8 as tokens; `pooled`: also of the whole, named as exporters do."""
    nodes = [helper.make_node('AveragePool', ['pixels'], ['quarters'], kernel_shape=[4, 4], strides=[4, 4]),
             helper.make_node('Reshape', ['quarters', 'rows'], ['flat']),
             helper.make_node('Transpose', ['flat'], ['last_hidden_state'], perm=[0, 2, 1])]
    weights = {'rows': np.array([1, 3, 4], np.int64)}
    outputs = [('last_hidden_state', [1, 4, 3])]
    if pooled:
        nodes += [helper.make_node('GlobalAveragePool', ['pixels'], ['whole']), helper.make_node('Flatten', ['whole'], ['pooler_output'])]
        outputs.append(('pooler_output', [1, 3]))
    save(path, nodes, weights, [('pixels', [1, 3, 8, 8])], outputs)


def write_all(folder):
    write_tokens(os.path.join(folder, 'tokens.onnx'), False)
    write_tokens(os.path.join(folder, 'pooled.onnx'), True)
    write_detector(os.path.join(folder, 'one.onnx'), [ONE])
    write_detector(os.path.join(folder, 'two.onnx'), TWO)
    write_detector(os.path.join(folder, 'none.onnx'), [])
    write_detector(os.path.join(folder, 'even.onnx'), [(0, 1, 7), (8, 6, 8)])   # neither is clearly the larger
    write_detector(os.path.join(folder, 'bright.onnx'), [ONE], 145)
    write_detector(os.path.join(folder, 'edge.onnx'), [ONE], 105.073, 200.0)    # the tiny model's picture is lost in pass 2
    write_encoder(os.path.join(folder, 'embedder.onnx'), 1, 112, 20)
    write_encoder(os.path.join(folder, 'judge.onnx'), 2, 48, 12, {'likeness.threshold': '0.3'})
