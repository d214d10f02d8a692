# onnx_writer.py: writes small PyTorch networks as ONNX files of plain operations.
#
#   Sequential, Residual, Conv2d (with the BatchNorm2d after it folded in), BatchNorm2d, PReLU, ReLU, pooling, Flatten,
#   Linear, Heads  ->  Conv, BatchNormalization, PRelu, Relu, MaxPool, AveragePool, GlobalAveragePool, Add, Flatten, Gemm
#
# Opset 17, f32, batch dimension "N".  PyTorch's own exporter would do, but it needs more packages and its graphs vary
# between versions; here every node is one that Cameo's reader knows.

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn


class Residual(nn.Module):
    """y = activation(branch(x) + shortcut(x)); the shortcut is the identity where shapes agree."""

    def __init__(self, branch, shortcut=None, activation=None):
        super().__init__()
        self.branch, self.shortcut, self.activation = branch, shortcut, activation

    def forward(self, x):
        y = self.branch(x) + (self.shortcut(x) if self.shortcut is not None else x)
        return self.activation(y) if self.activation is not None else y


class Heads(nn.Module):
    """Several linear outputs of one feature vector, by name."""

    def __init__(self, width, classes):
        super().__init__()
        self.heads = nn.ModuleDict({k: nn.Linear(width, n) for k, n in classes.items()})

    def forward(self, x):
        return {k: head(x) for k, head in self.heads.items()}


class Writer:
    def __init__(self):
        self.nodes, self.weights, self.count = [], [], 0

    def weight(self, name, value):
        self.weights.append(numpy_helper.from_array(value.detach().float().contiguous().numpy(), name))
        return name

    def node(self, kind, inputs, output=None, **attributes):
        self.count += 1
        output = output or f'{kind.lower()}_{self.count}'
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolution(self, conv, norm, x):
        w, b = conv.weight.double(), conv.bias.double() if conv.bias is not None else torch.zeros(conv.out_channels).double()
        if norm is not None:
            gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
            w, b = w * gain[:, None, None, None], (b - norm.running_mean.double()) * gain + norm.bias.double()
        n = f'conv_{self.count + 1}'
        (ky, kx), (sy, sx), (py, px) = conv.kernel_size, conv.stride, conv.padding
        return self.node('Conv', [x, self.weight(n + '.weight', w), self.weight(n + '.bias', b)], kernel_shape=[ky, kx],
                         strides=[sy, sx], pads=[py, px, py, px], dilations=[1, 1], group=conv.groups)

    def emit(self, m, x):
        if isinstance(m, nn.Sequential):
            items, i = list(m), 0
            while i < len(items):
                if isinstance(items[i], nn.Conv2d):
                    norm = items[i + 1] if i + 1 < len(items) and isinstance(items[i + 1], nn.BatchNorm2d) else None
                    x = self.convolution(items[i], norm, x)
                    i += 1 if norm is None else 2
                else:
                    x = self.emit(items[i], x)
                    i += 1
            return x
        if isinstance(m, nn.Conv2d):
            return self.convolution(m, None, x)
        if isinstance(m, Residual):
            y = self.node('Add', [self.emit(m.branch, x), self.emit(m.shortcut, x) if m.shortcut is not None else x])
            return self.emit(m.activation, y) if m.activation is not None else y
        if isinstance(m, nn.BatchNorm2d):
            n = f'norm_{self.count + 1}'
            parts = dict(scale=m.weight, bias=m.bias, mean=m.running_mean, var=m.running_var)
            return self.node('BatchNormalization', [x, *[self.weight(f'{n}.{k}', v) for k, v in parts.items()]], epsilon=m.eps)
        if isinstance(m, nn.PReLU):
            return self.node('PRelu', [x, self.weight(f'prelu_{self.count + 1}.slope', m.weight.view(-1, 1, 1))])
        if isinstance(m, nn.ReLU):
            return self.node('Relu', [x])
        if isinstance(m, nn.AvgPool2d):
            return self.node('AveragePool', [x], kernel_shape=[m.kernel_size] * 2, strides=[m.stride] * 2)
        if isinstance(m, nn.AdaptiveAvgPool2d):
            return self.node('GlobalAveragePool', [x])
        if isinstance(m, nn.Flatten):
            return self.node('Flatten', [x], axis=1)
        if isinstance(m, nn.Linear):
            return self.linear(m, x)
        raise TypeError(type(m))

    def linear(self, m, x, output=None):
        n = output or f'gemm_{self.count + 1}'
        bias = [self.weight(n + '.bias', m.bias)] if m.bias is not None else []
        return self.node('Gemm', [x, self.weight(n + '.weight', m.weight), *bias], output=output, transB=1)


def write(path, network, size, metadata, output='embedding'):
    """One file; a network that ends in Heads gets one output a head."""
    w = Writer()
    layers = list(network)
    if isinstance(layers[-1], Heads):
        x = w.emit(nn.Sequential(*layers[:-1]), 'pixels')
        outputs = [(w.linear(head, x, k), head.out_features) for k, head in layers[-1].heads.items()]
    else:
        x = w.emit(nn.Sequential(*layers[:-1]), 'pixels')
        outputs = [(w.linear(layers[-1], x, output), layers[-1].out_features)]
    graph = helper.make_graph(w.nodes, 'cameo', [helper.make_tensor_value_info('pixels', TensorProto.FLOAT, ['N', 3, size, size])],
                              [helper.make_tensor_value_info(k, TensorProto.FLOAT, ['N', n]) for k, n in outputs], w.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], producer_name='likeness')
    model.ir_version = 8
    helper.set_model_props(model, {k: str(v) for k, v in metadata.items()})
    onnx.checker.check_model(model)
    onnx.save(model, path)
