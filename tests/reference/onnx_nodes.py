"""Fixture for tests/models/test_onnx_nodes.c: the onnx package's own cases of single operators.

    python3 tests/reference/onnx_nodes.py              (onnx 1.23)

Writes tests/data/models/onnx_nodes.bin: models one after the other, each behind its length (32 bits, little-endian).
Inputs that images flow through stay inputs, all others (shapes, axes, weights) become initializers; the values of the
inputs and the expected outputs lie in the model as initializers called "NAME=". Where everything can be computed while
a graph is built there is a second model with nothing but initializers, whose result is added to an input of zeros.
Only operators that the engine lists are taken; SKIP says which of their cases are not, and why. Not run by any test.
"""
import os, struct
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, '..', 'data', 'models', 'onnx_nodes.bin')
MOST = 8 << 10  # bytes of a model

# operator -> inputs that stay inputs; None: all that are floats
GRAPH = {
    **{op: (0,) for op in '''Relu LeakyRelu PRelu Elu Selu Celu Sigmoid HardSigmoid HardSwish Mish Gelu Tanh Erf Softplus Softsign
    Exp Log Sqrt Reciprocal Neg Abs Clip Pow Softmax LogSoftmax ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2
    ReduceSumSquare ReduceLogSum ReduceLogSumExp Identity Dropout Cast CastLike Conv ConvTranspose MaxPool AveragePool
    GlobalAveragePool GlobalMaxPool BatchNormalization InstanceNormalization GroupNormalization LayerNormalization
    LpNormalization Reshape Flatten Squeeze Unsqueeze Transpose Split Slice Gather Pad Expand Tile DepthToSpace SpaceToDepth
    Resize Upsample'''.split()},
    **{op: None for op in 'Add Sub Mul Div Min Max Sum Mean MatMul Gemm Concat'.split()},
    'Where': (1, 2),
}
FOLD = '''Add Sub Mul Div Min Max Sum Pow Mod Equal Greater GreaterOrEqual Less LessOrEqual And Or Xor Not IsNaN Floor Ceil Round Neg Abs
Sign Sqrt Reciprocal Exp Log Where Constant ConstantOfShape Shape Size Range Gather Concat Slice Split Expand Tile Reshape
Flatten Squeeze Unsqueeze Transpose Cast Identity ReduceProd ReduceSum ReduceMax ReduceMin ReduceMean'''.split()
SKIP = {  # start of the names of cases, reason
    'averagepool_2d_dilations': 'refused: dilation',
    'maxpool_2d_dilations': 'refused: dilation',
    'averagepool_3d': 'refused: three axes',
    'maxpool_3d': 'refused: three axes',
    'convtranspose_3d': 'refused: three axes',
    'convtranspose_output_shape': 'refused: rows that no window reaches, beyond output_padding',
    'averagepool_2d_ceil_last_window_starts_on_pad': 'its expected numbers have four digits',
    'batchnorm_example_training_mode': 'refused: training',
    'batchnorm_epsilon_training_mode': 'refused: training',
    'training_dropout': 'training',
    'resize_tf_crop_and_resize': 'refused',
    'elu_example': 'a value at the kink', 'selu_example': 'a value at the kink', 'leakyrelu_example': 'a value at the kink',
    'reduce_min_default_axes_keepdims_example': 'a tie',
}
SKIP_EMPTY = 'empty_set'  # tensors of no elements are refused
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
WIDE = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL,
        TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16}


def tensor(value, name):
    return numpy_helper.from_array(np.asarray(value, order='C'), name)


def constants(node, case, values, keep):
    """Initializers for the inputs that do not stay, and infos and values for those that do."""
    inits, infos, given = [], [], []
    names = [n for n in node.input if n]
    for name, value in zip(names, values):
        at = list(node.input).index(name)
        if at in keep:
            infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
            given.append(tensor(value.astype(np.float32), name + '='))
        else:
            inits.append(tensor(value, name))
    return inits, infos, given


def build(case, model, nodes, inits, infos, outputs):
    graph = helper.make_graph(nodes, case.name, infos, outputs, inits)
    made = helper.make_model(graph, opset_imports=[o for o in model.opset_import if o.domain in ('', 'ai.onnx')], ir_version=8)
    data = made.SerializeToString()
    return data


def cases():
    for case in collect_testcases(None):
        model = case.model
        if model is None or not case.data_sets or len(model.graph.node) != 1 or case.name.endswith('_expanded'):
            continue
        node = model.graph.node[0]
        node.name = case.name.removeprefix('test_')
        if node.domain or (node.op_type not in GRAPH and node.op_type not in FOLD) or SKIP_EMPTY in case.name or \
                case.name.removeprefix('test_').startswith(tuple(SKIP)):
            continue
        types = [i.type.tensor_type.elem_type for i in list(model.graph.input) + list(model.graph.output)]
        if any(t not in WIDE for t in types) or any(i.type.WhichOneof('value') != 'tensor_type' for i in model.graph.input):
            continue
        inputs, outputs = map(list, case.data_sets[0])
        if not all(isinstance(v, (np.ndarray, np.generic)) for v in inputs + outputs):
            continue
        inputs = [np.asarray(v) for v in inputs]
        outputs = [np.asarray(v) for v in outputs]
        if node.op_type == 'LayerNormalization':  # the statistics are refused as outputs
            del node.output[1:], outputs[1:]
        if node.op_type == 'MaxPool' and len(outputs) > 1:
            continue
        if any(v.size == 0 for v in outputs) or len(inputs) != len([n for n in node.input if n]):
            continue
        if node.op_type in ('Erf', 'Mish') and outputs[0].size > 200:  # large, and all the same
            inputs, outputs = [inputs[0].reshape(-1)[::97].copy()], [outputs[0].reshape(-1)[::97].copy()]
        names = [n for n in node.output if n]
        float_out = all(v.dtype in (np.float32, np.float16, np.float64) for v in outputs)
        if node.op_type in GRAPH and float_out and inputs:
            floats = [i for i, n in enumerate(node.input) if n and inputs[[m for m in node.input if m].index(n)].dtype in
                      (np.float32, np.float16, np.float64)]
            keep = floats if GRAPH[node.op_type] is None else [i for i in GRAPH[node.op_type] if i in floats]
            if keep:
                inits, infos, given = constants(node, case, inputs, keep)
                wanted = [tensor(v.astype(np.float32), n + '=') for n, v in zip(names, outputs)]
                results = [helper.make_tensor_value_info(n, TensorProto.FLOAT, v.shape) for n, v in zip(names, outputs)]
                yield case.name, build(case, model, [node], inits + given + wanted, infos, results)
        if node.op_type in FOLD:
            inits, _, _ = constants(node, case, inputs, [])
            zero = helper.make_tensor_value_info('zero', TensorProto.FLOAT, [1])
            nodes, results, wanted = [node], [], []
            for n, v in zip(names, outputs):
                nodes += [helper.make_node('Cast', [n], [n + '.cast'], to=TensorProto.FLOAT),
                          helper.make_node('Add', [n + '.cast', 'zero'], [n + '.sum'])]
                shape = v.shape or (1,)
                results.append(helper.make_tensor_value_info(n + '.sum', TensorProto.FLOAT, shape))
                wanted.append(tensor(v.astype(np.float32).reshape(shape), n + '.sum='))
            inits += wanted + [tensor(np.zeros(1, np.float32), 'zero=')]
            yield case.name + '/folded', build(case, model, nodes, inits, [zero], results)


def own():
    """What has no case among theirs that can be used."""
    x = np.linspace(-2, 2, 12).astype(np.float32).reshape(3, 4)
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, x.shape) for n in 'xy']
    node = helper.make_node('CastLike', ['x', 'like'], ['y'], name='castlike')
    inits = [tensor(x, 'x='), tensor(x, 'y='), tensor(np.zeros(2, np.float16), 'like')]
    graph = helper.make_graph([node], 'castlike', info[:1], info[1:], inits)
    yield 'castlike', helper.make_model(graph, opset_imports=[helper.make_opsetid('', 21)], ir_version=8).SerializeToString()


if __name__ == '__main__':
    count, total, ops = 0, 0, {}
    with open(OUT, 'wb') as f:
        for name, data in [*cases(), *own()]:
            if len(data) > MOST:
                print('left out for its size:', name, len(data))
                continue
            f.write(struct.pack('<I', len(data)) + data)
            count, total = count + 1, total + len(data) + 4
            op = name.split('/')[0]
            ops[op] = ops.get(op, 0) + len(data)
    print(count, 'models', total // 1024, 'KiB')
