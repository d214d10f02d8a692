"""Fixtures for tests/models/test_onnx_exports.c: known image networks as PyTorch's two exporters write them, with the
modules' outputs and input gradients in double.

    python3 tests/reference/onnx_exports.py [NAME...]      (torch 2.15, torchvision 0.29, timm 1.0.31, transformers 5.24,
                                                            onnx 1.23, onnxscript 0.7, onnxruntime 1.32)

Writes tests/data/models/exports/NAME.{onnx,safetensors}. The graphs are the exporters' own, at full structure; channels
are fewer and pictures smaller than usual. Weights are random and not stored: every parameter of a module is made from
its index by weights() below, and a tensor of the graph that holds such a parameter says so in place of its data
(external_data: seed, scale, around, and turned for a transposed one), which the test fills in the same way. Not run by
any test.
"""
import os, sys, warnings
import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn as nn
import torch.nn.functional as F
from onnx import TensorProto, numpy_helper
from safetensors.torch import save_file

warnings.filterwarnings('ignore')
HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, '..', 'data', 'models', 'exports')
torch.set_num_threads(1)


# ---- networks ----

def resnet18():
    from timm.models.resnet import BasicBlock, ResNet
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes=20, stem_width=16, channels=(16, 24, 40, 64), zero_init_last=False)


def resnet50():
    from timm.models.resnet import Bottleneck, ResNet
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes=20, stem_width=16, channels=(8, 16, 24, 32), zero_init_last=False)


def mobilenet_v2():
    from torchvision.models.mobilenetv2 import MobileNetV2
    return MobileNetV2(num_classes=20, width_mult=0.5)


def mobilenet_v3(arch):
    from torchvision.models.mobilenetv3 import MobileNetV3, _mobilenet_v3_conf
    settings, last = _mobilenet_v3_conf(arch, width_mult=0.5)
    return MobileNetV3(settings, last // 4, num_classes=20)


def efficientnet_b0():
    from torchvision.models.efficientnet import EfficientNet, _efficientnet_conf
    settings, last = _efficientnet_conf('efficientnet_b0', width_mult=0.5, depth_mult=1.0)
    return EfficientNet(settings, dropout=0.2, num_classes=20, last_channel=128)


class IdentityBlock(nn.Module):
    """The residual block of the ArcFace family: norm, 3x3, norm, PReLU, 3x3 with the stride, norm; no last activation."""

    def __init__(self, ins, outs, stride):
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm2d(ins), nn.Conv2d(ins, outs, 3, 1, 1, bias=False), nn.BatchNorm2d(outs),
                                  nn.PReLU(outs), nn.Conv2d(outs, outs, 3, stride, 1, bias=False), nn.BatchNorm2d(outs))
        self.skip = nn.Identity()
        if stride != 1 or ins != outs:
            self.skip = nn.Sequential(nn.Conv2d(ins, outs, 1, stride, bias=False), nn.BatchNorm2d(outs))

    def forward(self, x):
        return self.body(x) + self.skip(x)


class IResNet(nn.Module):
    """Stem without pooling, four stages each starting with stride 2, norm, dropout, one linear layer, norm."""

    def __init__(self, depths=(3, 4, 14, 3), widths=(8, 8, 16, 24, 32), side=56, embedding=64):
        super().__init__()
        layers, ins = [nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.PReLU(widths[0])], widths[0]
        for depth, outs in zip(depths, widths[1:]):
            for i in range(depth):
                layers.append(IdentityBlock(ins, outs, 2 if i == 0 else 1))
                ins = outs
        self.features = nn.Sequential(*layers, nn.BatchNorm2d(ins))
        self.dropout = nn.Dropout(0.4)
        self.head = nn.Linear(ins * ((side + 15) // 16) ** 2, embedding)
        self.norm = nn.BatchNorm1d(embedding)

    def forward(self, x):
        return self.norm(self.head(self.dropout(torch.flatten(self.features(x), 1))))


def conv_norm(ins, outs, k, stride=1, pad=0, groups=1, active=True):
    layers = [nn.Conv2d(ins, outs, k, stride, pad, groups=groups, bias=False), nn.BatchNorm2d(outs)]
    return nn.Sequential(*layers, *([nn.PReLU(outs)] if active else []))


class Inverted(nn.Module):
    def __init__(self, ins, outs, expand, stride):
        super().__init__()
        self.body = nn.Sequential(conv_norm(ins, expand, 1), conv_norm(expand, expand, 3, stride, 1, expand),
                                  conv_norm(expand, outs, 1, active=False))
        self.same = stride == 1 and ins == outs

    def forward(self, x):
        return x + self.body(x) if self.same else self.body(x)


class MobileFaceNet(nn.Module):
    """After the paper (Chen et al. 2018, table 1), half as wide: ends with a global depthwise convolution."""

    def __init__(self, side=112, embedding=64):
        super().__init__()
        layers, ins = [conv_norm(3, 32, 3, 2, 1), conv_norm(32, 32, 3, 1, 1, 32)], 32
        for times, expand, outs, stride in ((1, 64, 32, 2), (4, 64, 32, 1), (1, 128, 64, 2), (6, 128, 64, 1), (1, 256, 64, 2),
                                            (2, 128, 64, 1)):
            for _ in range(times):
                layers.append(Inverted(ins, outs, expand, stride))
                ins = outs
        layers += [conv_norm(ins, 256, 1), conv_norm(256, 256, side // 16, groups=256, active=False),
                   conv_norm(256, embedding, 1, active=False)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return F.normalize(torch.flatten(self.layers(x), 1))


def vit_small():
    from timm.models.vision_transformer import VisionTransformer
    return VisionTransformer(64, 16, embed_dim=48, depth=12, num_heads=6, num_classes=20)


def dinov2_small():
    """Register-free, with layer scale; the position embedding was learned on another grid and is resized on the way."""
    from transformers import Dinov2Config, Dinov2Model

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            config = Dinov2Config(hidden_size=48, num_hidden_layers=12, num_attention_heads=6, image_size=70, patch_size=14)
            config._attn_implementation = 'sdpa'
            self.model = Dinov2Model(config)

        def forward(self, x):
            return self.model(x).last_hidden_state[:, 0]
    return Pooled()


NETWORKS = {  # builder, input
    'resnet18': (resnet18, (2, 3, 64, 64)),
    'resnet50': (resnet50, (1, 3, 64, 64)),
    'mobilenet_v2': (mobilenet_v2, (1, 3, 64, 64)),
    'mobilenet_v3_small': (lambda: mobilenet_v3('mobilenet_v3_small'), (1, 3, 64, 64)),
    'mobilenet_v3_large': (lambda: mobilenet_v3('mobilenet_v3_large'), (1, 3, 64, 64)),
    'efficientnet_b0': (efficientnet_b0, (1, 3, 64, 64)),
    'iresnet50': (IResNet, (1, 3, 56, 56)),
    'mobilefacenet': (lambda: MobileFaceNet(64), (1, 3, 64, 64)),
    'vit_small': (vit_small, (2, 3, 64, 64)),
    'dinov2_small': (dinov2_small, (1, 3, 56, 56)),
}
EXPORTS = [  # network, exporter, opset, norms; script exports fold a batch norm away unless it is told to keep it
    ('resnet18', 'script', 9, 'folded'),
    ('resnet50', 'script', 11, 'kept'),
    ('mobilenet_v2', 'script', 12, 'folded'),
    ('mobilenet_v3_small', 'script', 13, 'folded'),
    ('mobilenet_v3_large', 'script', 16, 'folded'),
    ('efficientnet_b0', 'script', 15, 'kept'),
    ('iresnet50', 'script', 11, 'kept'),
    ('mobilefacenet', 'script', 10, 'folded'),
    ('vit_small', 'script', 14, 'folded'),
    ('dinov2_small', 'script', 17, 'folded'),
    ('resnet18', 'half', 17, 'folded'),
    ('vit_small', 'dynamo', 18, 'folded'),
    ('mobilenet_v3_small', 'dynamo', 18, 'folded'),
    ('dinov2_small', 'dynamo', 21, 'folded'),
    ('mobilefacenet', 'dynamo', 20, 'folded'),
    ('resnet50', 'dynamo', 18, 'folded'),
]


# ---- weights ----

def generated(seed, count, step, around):
    """16 bits of numbers from their index: the test makes the same ones."""
    x = (np.arange(count, dtype=np.uint64) * 2654435761 + seed * 2246822519) & 0xffffffff
    for shift, factor in ((16, 0x85ebca6b), (13, 0xc2b2ae35)):
        x ^= x >> shift
        x = (x * factor) & 0xffffffff
    x ^= x >> 16
    k = (x >> 20).astype(np.float32) - np.float32(2048)
    return (k * np.float32(step) + np.float32(around)).astype(np.float16)


def recipe(name, tensor):
    """(scale, around) of a parameter."""
    if name.endswith('running_var'):
        return (0.3, 1.0)
    if name.endswith('running_mean'):
        return (0.2, 0.0)
    if tensor.dim() > 1 and not any(w in name for w in ('pos_embed', 'cls_token', 'position_embeddings', 'mask_token')):
        return ((3 * 1.3 / (tensor[0].numel())) ** 0.5, 0.0)
    if name.endswith('lambda1') or name.endswith('gamma'):
        return (0.3, 0.5)
    if name.endswith('weight') and tensor.dim() == 1:
        return (0.2, 0.25 if is_prelu(name) else 1.0)
    return (0.2, 0.0)


PRELUS = set()


def is_prelu(name):
    return name.rsplit('.', 1)[0] in PRELUS


def set_weights(module, norms):
    """Every parameter and running statistic by its index. Returns [(seed, step, around, array)]."""
    PRELUS.clear()
    PRELUS.update(n for n, m in module.named_modules() if isinstance(m, nn.PReLU))
    unit = {}
    if norms == 'folded':  # what folding multiplies by is then 1, and the folded weight is the weight
        for n, m in module.named_modules():
            if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm1d)):
                unit[n + '.weight'], unit[n + '.running_mean'], unit[n + '.running_var'] = 1.0, 0.0, 1.0 - m.eps
    made = []
    for seed, (name, tensor) in enumerate(module.state_dict().items()):
        if not tensor.is_floating_point():
            continue
        if name in unit:
            tensor.fill_(unit[name])
            continue
        scale, around = recipe(name, tensor)
        step = float(np.float32(scale / 2048))
        values = generated(seed + 1, tensor.numel(), step, around)
        tensor.copy_(torch.tensor(values.astype(np.float32)).reshape(tensor.shape))
        made.append((seed + 1, step, around, values.reshape(tuple(tensor.shape))))
    return made


# ---- export and packing ----

def export(module, x, kind, opset, norms, path):
    if kind == 'dynamo':
        torch.onnx.export(module, (x,), path, dynamo=True, opset_version=opset, input_names=['pixels'],
                          output_names=['embedding'], external_data=False, verbose=False,
                          dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        return
    training = torch.onnx.TrainingMode.PRESERVE if norms == 'kept' else torch.onnx.TrainingMode.EVAL
    torch.onnx.export(module, (x,), path, dynamo=False, opset_version=opset, input_names=['pixels'],
                      output_names=['embedding'], dynamic_axes={'pixels': {0: 'batch'}}, training=training)


def find_seed(array, made):
    for seed, step, around, values in made:
        if values.size != array.size:
            continue
        wide = values.astype(np.float32)
        if np.allclose(wide.reshape(-1), array.reshape(-1), rtol=2e-6, atol=1e-9):
            return seed, step, around, False
        if array.ndim == 2 and values.ndim == 2 and array.shape == values.T.shape and \
                np.allclose(wide.T, array, rtol=2e-6, atol=1e-9):
            return seed, step, around, True
    return None


def pack(model, made):
    """Weights to recipes, long names to short ones, nothing that is not needed."""
    graph = model.graph
    del graph.value_info[:], graph.metadata_props[:], model.metadata_props[:], model.functions[:]
    graph.ClearField('doc_string')
    short = {'': ''}
    for i, name in enumerate([v.name for v in graph.initializer] + [o for n in graph.node for o in n.output if o]):
        short.setdefault(name, np.base_repr(i, 36).lower() + '_')
    for v in list(graph.input) + list(graph.output):
        short[v.name] = v.name
    inline = 0
    for v in graph.initializer:
        array = numpy_helper.to_array(v)
        found = find_seed(array.astype(np.float32), made) if array.size >= 8 and array.dtype.kind == 'f' else None
        v.name, v.doc_string = short[v.name], ''
        if not found:
            inline += array.nbytes
            if array.nbytes > 2000:
                print('   inline', v.name, array.shape)
            continue
        seed, step, around, turned = found
        dims, kind, name = list(v.dims), v.data_type, v.name
        v.Clear()
        v.dims.extend(dims)
        v.data_type, v.name, v.data_location = kind, name, TensorProto.EXTERNAL
        for key, value in (('seed', seed), ('step', '%.9g' % step), ('around', '%.9g' % around), ('turned', int(turned))):
            if value in (0, '0'):
                continue
            entry = v.external_data.add()
            entry.key, entry.value = key, str(value)
    for node in graph.node:
        node.ClearField('doc_string')
        del node.metadata_props[:]
        node.name = node.name.replace('/layers', '').replace('/blocks', '')[-24:]
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = short[name]
    return inline


def truth(name, module, made, file):
    shape = NETWORKS[name][1]
    x = torch.tensor(generated(0, int(np.prod(shape)), 1 / 2048, 0).astype(np.float64)).reshape(shape).requires_grad_(True)
    module = module.double()
    y = module(x)
    v = torch.tensor(generated(1000, y.numel(), 1 / 2048, 0).astype(np.float64)).reshape(y.shape)
    gradient, = torch.autograd.grad((y * v).sum(), x)
    at = np.unique(np.linspace(0, gradient.numel() - 1, 300).astype(np.int32))
    tensors = dict(output=y.detach().float().contiguous(), at=torch.tensor(at), shape=torch.tensor(shape, dtype=torch.int32),
                   gradient=gradient.reshape(-1)[torch.tensor(at).long()].float(),
                   norm=gradient.norm().reshape(1).float())
    save_file(tensors, file)
    print('   output rms %.3g, gradient rms %.3g' % (y.square().mean().sqrt(), gradient.square().mean().sqrt()), flush=True)
    return y.detach().numpy(), x.detach()


def make(name, kind, opset, norms):
    torch.manual_seed(1)
    builder, shape = NETWORKS[name]
    module = builder().eval()
    made = set_weights(module, norms)
    label = f'{name}_{kind}{opset}'
    path = os.path.join(DATA, label + '.onnx')
    os.makedirs(DATA, exist_ok=True)
    example = torch.rand(2, *shape[1:])
    print(label, sum(p.numel() for p in module.parameters()), 'parameters', flush=True)
    export(module.half() if kind == 'half' else module, example.half() if kind == 'half' else example, kind, opset, norms, path)
    made = set_weights(module.float(), norms)
    model = onnx.load(path)
    ours, x = truth(name, module, made, os.path.join(DATA, label + '.safetensors'))
    if kind != 'half':
        theirs, = onnxruntime.InferenceSession(path).run(None, {'pixels': x.float().numpy()})
        error = np.abs(theirs - ours).max() / np.abs(ours).max()
        assert error < 1e-4, (label, error)
    inline = pack(model, made)
    onnx.save(model, path)
    print('   opset', model.opset_import[0].version, len(model.graph.node), 'nodes', os.path.getsize(path) // 1024, 'KiB, inline',
          inline // 1024, 'KiB', flush=True)


if __name__ == '__main__':
    for row in EXPORTS:
        if len(sys.argv) > 1 and f'{row[0]}_{row[1]}{row[2]}' not in sys.argv[1:]:
            continue
        make(*row)
