"""Fixtures for tests/models/test_onnx_graph.c: three encoder-like ONNX files with outputs (checked against onnxruntime)
and input gradients (PyTorch, in double), and YuNet's outputs and central differences (onnxruntime).

    python3 tests/reference/onnx_networks.py [YUNET.onnx]       (torch 2.15, onnx 1.23, onnxruntime 1.32)

Writes tests/data/models/onnx_<name>/{network.onnx,case.safetensors}. Weights are representable in f16. Not run by any
test. YuNet's file itself is not copied.
"""
import os, sys
import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, '..', 'data', 'models')
torch.set_num_threads(1)


def half(*shape, scale=1.0, around=0.0):
    return (around + torch.randn(*shape, dtype=torch.float64) * scale).half().double()


class Net:
    """Builds the ONNX file node by node and computes the same with PyTorch beside it."""

    def __init__(self, opset, x, free=('N',)):
        self.opset, self.nodes, self.inits, self.n = opset, [], [], 0
        self.x = x.clone().requires_grad_(True)
        self.value = {'pixels': self.x}
        shape = [free[0] if free else x.shape[0], *x.shape[1:]]
        self.inputs = [helper.make_tensor_value_info('pixels', TensorProto.FLOAT, shape)]

    def const(self, array, name=None):
        name = name or f'c{len(self.inits)}'
        if isinstance(array, torch.Tensor):
            array = array.numpy().astype(np.float32)
        self.inits.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, op, inputs, result=None, outputs=1, **attributes):
        self.n += 1
        names = [f'{op.lower()}_{self.n}' + (f'_{i}' if outputs > 1 else '') for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=f'{op}_{self.n}', **attributes))
        for name, value in zip(names, result if outputs > 1 else [result]):
            self.value[name] = value
        return names if outputs > 1 else names[0]

    def conv(self, x, out, k, stride=1, pad=0, groups=1, bias=True, dilation=1, **more):
        v = self.value[x]
        w = half(out, v.shape[1] // groups, k, k, scale=(v.shape[1] // groups * k * k) ** -0.5)
        b = half(out, scale=0.2) if bias else None
        names = [x, self.const(w)] + ([self.const(b)] if bias else [])
        y = F.conv2d(v, w, b, stride, pad, dilation, groups)
        return self.add('Conv', names, y, kernel_shape=[k, k], strides=[stride] * 2, pads=[pad] * 4, group=groups,
                        dilations=[dilation] * 2, **more)

    def norm(self, x):
        v = self.value[x]
        c = v.shape[1]
        g, s, m, r = half(c, scale=0.2, around=1), half(c, scale=0.2), half(c, scale=0.2), half(c, scale=0.1, around=1).abs()
        y = F.batch_norm(v, m, r, g, s, eps=1e-3)
        return self.add('BatchNormalization', [x] + [self.const(t) for t in (g, s, m, r)], y, epsilon=1e-3)

    def prelu(self, x):
        c = self.value[x].shape[1]
        slope = half(c, scale=0.1, around=0.25)
        shape = (c, 1, 1) if self.value[x].dim() == 4 else (c,)
        return self.add('PRelu', [x, self.const(slope.reshape(shape))], F.prelu(self.value[x], slope))

    def gemm(self, x, out, turned=True):
        v = self.value[x]
        w, b = half(out, v.shape[1], scale=v.shape[1] ** -0.5), half(out, scale=0.2)
        return self.add('Gemm', [x, self.const(w if turned else w.T.contiguous()), self.const(b)], F.linear(v, w, b),
                        transB=int(turned))

    def finish(self, name, outputs, metadata):
        folder = os.path.join(DATA, f'onnx_{name}')
        os.makedirs(folder, exist_ok=True)
        infos = [helper.make_tensor_value_info(o, TensorProto.FLOAT, [f'{o}_{k}' for k in range(self.value[o].dim())]) for o in outputs]
        graph = helper.make_graph(self.nodes, name, self.inputs, infos, self.inits)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', self.opset)], ir_version=8)
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        path = os.path.join(folder, 'network.onnx')
        onnx.save(model, path)
        session = onnxruntime.InferenceSession(path)
        theirs = session.run(outputs, {'pixels': self.x.detach().float().numpy()})
        tensors, total = dict(pixels=self.x.detach().half()), 0
        for i, o in enumerate(outputs):
            ours = self.value[o]
            error = np.abs(theirs[i] - ours.detach().numpy()).max()
            assert theirs[i].shape == tuple(ours.shape) and error < 1e-4, (o, theirs[i].shape, ours.shape, error)
            v = half(*ours.shape)
            tensors |= {f'output_{i}': ours.detach().float().contiguous(), f'cotangent_{i}': v.half()}
            total = total + (ours * v).sum()
        gradient, = torch.autograd.grad(total, self.x)
        tensors['gradient'] = gradient.float()
        save_file(tensors, os.path.join(folder, 'case.safetensors'))
        print(name, len(self.nodes), 'nodes', os.path.getsize(path) // 1024, 'KiB')


def residual():
    """The shape of Cameo's encoders: residual blocks with PReLU, batch norms that fold, a batch of any size."""
    torch.manual_seed(11)
    n = Net(17, half(3, 3, 24, 20))
    x = n.prelu(n.norm(n.conv('pixels', 10, 3, 2, 1, bias=False)))
    for out, stride in ((10, 1), (16, 2)):
        y = n.prelu(n.norm(n.conv(x, out, 3, stride, 1)))
        y = n.norm(n.conv(y, out, 3, 1, 1, bias=False))
        s = x if out == n.value[x].shape[1] else n.conv(x, out, 1, stride)
        x = n.prelu(n.add('Add', [y, s], n.value[y] + n.value[s]))
    x = n.add('GlobalAveragePool', [x], n.value[x].mean((2, 3), keepdim=True))
    x = n.add('Flatten', [x], n.value[x].flatten(1), axis=1)
    n.finish('residual', [n.gemm(x, 12)], {'likeness.embedding': 'gemm_%d' % n.n})


def classic():
    """Older face encoders: unfolded norms, gates, pools, shape arithmetic around the flattening, opset 11."""
    torch.manual_seed(12)
    n = Net(11, half(2, 3, 21, 17))
    v = n.value
    x = n.add('Sub', ['pixels', n.const(np.float32(0.25))], v['pixels'] - 0.25)
    gain = half(1, 3, 1, 1, around=1, scale=0.2)
    x = n.add('Mul', [x, n.const(gain, 'gain')], v[x] * gain)
    x = n.norm(x)
    x = n.conv(x, 8, 3, 1, 0, auto_pad='NOTSET')
    x = n.add('LeakyRelu', [x], F.leaky_relu(v[x], 0.1), alpha=0.1)
    x = n.add('MaxPool', [x], F.max_pool2d(v[x], 3, 2, 1), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    y = n.conv(x, 8, 3, 1, 2, groups=8, dilation=2)  # depthwise, dilated
    y = n.add('Clip', [y, n.const(np.float32(-1)), n.const(np.float32(1.5))], v[y].clamp(-1, 1.5))
    g = n.add('GlobalAveragePool', [y], v[y].mean((2, 3), keepdim=True))
    g = n.conv(g, 8, 1)
    g = n.add('Sigmoid', [g], v[g].sigmoid())
    y = n.add('Mul', [y, g], v[y] * v[g])
    x = n.add('Add', [x, y], v[x] + v[y])
    x = n.add('AveragePool', [x], F.avg_pool2d(v[x], 2, 2, 0), kernel_shape=[2, 2], strides=[2, 2])
    x = n.norm(x)
    x = n.add('Dropout', [x], v[x], ratio=0.4)
    s = n.add('Shape', [x])
    s = n.add('Gather', [s, n.const(np.int64(0))], axis=0)
    s = n.add('Unsqueeze', [s], axes=[0])
    s = n.add('Concat', [s, n.const(np.array([-1], np.int64))], axis=0)
    x = n.add('Reshape', [x, s], v[x].flatten(1))
    x = n.gemm(x, 10, turned=False)
    x = n.norm(x)
    t = n.add('Tanh', [x], v[x].tanh())
    d = n.add('Div', [t, n.const(np.float32(0.5))], v[t] / 0.5)
    n.finish('classic', [x, d], {'likeness.channels': 'BGR'})


def odd():
    """Everything else: resizes, pads, concatenations, slices, token layouts, norms, opset 13."""
    torch.manual_seed(13)
    n = Net(13, half(2, 3, 14, 18))
    v = n.value
    f = lambda *a: n.const(np.array(a, np.float32))
    i = lambda *a: n.const(np.array(a, np.int64))
    x = n.add('Pad', ['pixels', i(0, 0, 1, 2, 0, 0, 0, 1)], F.pad(v['pixels'], (2, 1, 1, 0), mode='reflect'), mode='reflect')
    x = n.conv(x, 6, 3, 2, 1)
    up = n.add('Resize', [x, '', f(1, 1, 2, 2)], F.interpolate(v[x], scale_factor=2, mode='nearest'), mode='nearest',
               coordinate_transformation_mode='asymmetric', nearest_mode='floor')
    down = n.add('Resize', [up, '', '', i(2, 6, 5, 7)], F.interpolate(v[up], (5, 7), mode='bilinear', align_corners=False),
                 mode='linear', coordinate_transformation_mode='half_pixel')
    corner = n.add('Resize', [x, '', '', i(2, 6, 5, 7)], F.interpolate(v[x], (5, 7), mode='bilinear', align_corners=True),
                   mode='linear', coordinate_transformation_mode='align_corners')
    x = n.add('Concat', [down, corner], torch.cat([v[down], v[corner]], 1), axis=1)
    a, b = n.add('Split', [x, i(5, 7)], torch.split(v[x], [5, 7], 1), outputs=2, axis=1)
    b = n.add('Slice', [b, i(0, 1), i(10, 2 ** 31), i(1, 3), i(2, 1)], v[b][:, 0:10:2, :, 1:])
    a = n.add('Slice', [a, i(1), i(5), i(1)], v[a][:, 1:5])
    b = n.add('Pad', [b, i(0, 0, 0, 0, 0, 0, 0, 1), n.const(np.float32(0.5))], F.pad(v[b], (0, 1), value=0.5), mode='constant')
    m = n.add('ReduceMax', [a], v[a].amax(1, keepdim=True), axes=[1], keepdims=1)
    b = n.add('Sub', [m, b], v[m] - v[b])
    x = n.add('Transpose', [b], v[b].permute(0, 2, 3, 1), perm=[0, 2, 3, 1])
    w = half(4, 6, scale=0.5)
    x = n.add('MatMul', [x, n.const(w)], v[x] @ w)
    x = n.add('Reshape', [x, i(0, -1, 6)], v[x].reshape(2, -1, 6))
    p = n.add('Softmax', [x], v[x].softmax(-1), axis=-1)
    q = n.add('Softmax', [x], v[x].softmax(1), axis=1)
    x = n.add('Mul', [p, q], v[p] * v[q])
    x = n.add('Mul', [x, n.const(np.float32(20))], v[x] * 20)
    x = n.add('ReduceMean', [x], v[x].mean(1), axes=[1], keepdims=0)
    x = n.add('Unsqueeze', [x, i(1)], v[x][:, None])
    x = n.add('Squeeze', [x, i(1)], v[x][:, 0])
    x = n.add('Identity', [x], v[x])
    x = n.add('Exp', [x], v[x].exp())
    s = n.add('ReduceL2', [x], v[x].norm(dim=1, keepdim=True), axes=[1], keepdims=1)
    x = n.add('Div', [x, s], v[x] / v[s])
    r = n.add('Div', [n.const(np.float32(2)), x], 2 / v[x])
    n.finish('odd', [x, r], {'likeness.mean': '0.1, 0.2 0.3', 'likeness.std': '0.5'})


def preprocessing():
    """What the metadata ask for: sizes of the input, channels, mean, std; the network itself only flattens."""
    torch.manual_seed(14)
    picture = torch.rand(2, 3, 14, 10, dtype=torch.float64).half().double().requires_grad_(True)
    mean, std = torch.tensor([0.4, 0.5, 0.6]).double(), torch.tensor([0.25, 0.2, 0.3]).double()
    x = F.interpolate(picture, (9, 12), mode='bilinear', antialias=True, align_corners=False).flip(1)
    x = (x - mean[:, None, None]) / std[:, None, None]
    n = Net(17, x.detach())
    y = n.add('Flatten', ['pixels'], n.value['pixels'].flatten(1), axis=1)
    n.finish('preprocessing', [y], {'likeness.channels': 'BGR', 'likeness.mean': '0.4,0.5,0.6',
                                    'likeness.std': '0.25,0.2,0.3', 'likeness.embedding': y, 'likeness.threshold': '0.37'})
    y, v = x.flatten(1), half(2, 3 * 9 * 12)
    gradient, = torch.autograd.grad((y * v).sum(), picture)
    save_file(dict(picture=picture.detach().half(), output_0=y.detach().float(), cotangent_0=v.half(),
                   gradient=gradient.float()), os.path.join(DATA, 'onnx_preprocessing', 'case.safetensors'))


def classifier():
    """One classifier three times, ending in logits, probabilities and their logarithms: the log-probability of class 2 and
    its gradient are the same."""
    for end in ('logits', 'probabilities', 'logarithms'):
        torch.manual_seed(15)
        n = Net(17, half(2, 3, 10, 8))
        x = n.conv('pixels', 6, 3, 2, 1)
        x = n.add('Relu', [x], F.relu(n.value[x]))
        x = n.add('GlobalAveragePool', [x], n.value[x].mean((2, 3), keepdim=True))
        x = n.add('Flatten', [x], n.value[x].flatten(1), axis=1)
        x = z = n.gemm(x, 5)
        if end == 'probabilities':
            x = n.add('Softmax', [x], n.value[x].softmax(1), axis=1)
        if end == 'logarithms':
            x = n.add('LogSoftmax', [x], n.value[x].log_softmax(1), axis=1)
        y, v = n.value[z].log_softmax(1)[:, 2], half(2)
        gradient, = torch.autograd.grad((y * v).sum(), n.x, retain_graph=True)
        n.finish('class_' + end, [x], {'likeness.mean': '0', 'likeness.std': '1'})
        save_file(dict(picture=n.x.detach().half(), output_0=y.detach().float(), cotangent_0=v.half(), gradient=gradient.float()),
                  os.path.join(DATA, 'onnx_class_' + end, 'case.safetensors'))


def yunet(path):
    session = onnxruntime.InferenceSession(path)
    outputs = [o.name for o in session.get_outputs()]
    rng = np.random.default_rng(5)
    coarse = rng.uniform(0, 255, (1, 3, 4, 4)).astype(np.float32)
    x = F.interpolate(torch.tensor(coarse), (32, 32), mode='bicubic').clamp(0, 255).round().numpy()
    base = session.run(outputs, {'input': x})
    v = [rng.normal(size=o.shape).astype(np.float16) for o in base]

    def value(at, step):
        moved = x.copy()
        moved.flat[at] += step
        ours = session.run(outputs, {'input': moved})
        return sum((o.astype(np.float64) * c.astype(np.float64)).sum() for o, c in zip(ours, v))
    pixels = np.sort(rng.choice(x.size, 200, replace=False))

    # onnxruntime's f32 noise is as large as a small step's difference, large steps meet kinks: the slope of the line
    # through the differences of 200 steps from 0.05 to 0.15 grey levels.
    steps = np.linspace(0.05, 0.15, 200)
    rises = np.array([[value(p, h) - value(p, -h) for h in steps] for p in pixels])
    differences = (rises * steps).sum(1) / (2 * steps ** 2).sum()
    tensors = dict(pixels=torch.tensor(x).half(), at=torch.tensor(pixels.astype(np.int32)),
                   differences=torch.tensor(differences).float())
    for i, (o, c) in enumerate(zip(base, v)):
        tensors |= {f'output_{i}': torch.tensor(o), f'cotangent_{i}': torch.tensor(c)}
    folder = os.path.join(DATA, 'onnx_yunet')
    os.makedirs(folder, exist_ok=True)
    save_file(tensors, os.path.join(folder, 'case.safetensors'))
    print('yunet', len(outputs), 'outputs', np.abs(differences).mean())


if __name__ == '__main__':
    residual()
    classic()
    odd()
    preprocessing()
    classifier()
    if len(sys.argv) > 1:
        yunet(sys.argv[1])
