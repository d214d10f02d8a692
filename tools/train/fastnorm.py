# fastnorm.py: a faster group norm (with the SiLU that follows it) for training on a CPU.
#
# PyTorch's group norm backward takes a third of an autoencoder step on channels-last tensors.  fastnorm.cpp is
# compiled on first use with the system's c++ and linked to the OpenMP runtime that PyTorch brought; where that fails,
# install() changes nothing and training is only slower.  Parameters stay where they are: state dictionaries are the
# same with and without it.

import ctypes
import glob
import os
import subprocess
import tempfile

import torch
from torch import nn

LIBRARY = None


def library():
    global LIBRARY
    if LIBRARY is None:
        try:
            source = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'fastnorm.cpp')
            folder = tempfile.mkdtemp(prefix='fastnorm')
            here, there = os.path.join(folder, 'fastnorm.o'), os.path.join(folder, 'fastnorm.so')
            subprocess.run(['c++', '-O3', '-ffast-math', '-march=native', '-mprefer-vector-width=512', '-fPIC', '-fopenmp', '-c',
                            source, '-o', here], check=True, capture_output=True)
            root = os.path.dirname(torch.__file__)
            openmp = glob.glob(os.path.join(root, 'lib', 'libgomp*')) + glob.glob(os.path.join(root + '.libs', 'libgomp*'))
            subprocess.run(['c++', '-shared', here, '-o', there, '-lmvec', '-lm', *(openmp[:1] or ['-fopenmp'])], check=True,
                           capture_output=True)
            LIBRARY = ctypes.CDLL(there)
        except (OSError, subprocess.CalledProcessError) as e:
            print('fastnorm: not available, using group_norm:', e)
            LIBRARY = False
    return LIBRARY


def pointer(t):
    return ctypes.c_void_p(t.data_ptr())


class GroupNormFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, groups, eps, silu):
        x = x.contiguous(memory_format=torch.channels_last)
        n, c, h, w = x.shape
        y, mean, rstd = torch.empty_like(x), x.new_empty(n, groups, dtype=torch.float32), x.new_empty(n, groups, dtype=torch.float32)
        library().norm_forward(pointer(x), pointer(y), pointer(weight), pointer(bias), pointer(mean), pointer(rstd), n, h * w, c,
                               groups, ctypes.c_float(eps), silu, x.dtype == torch.bfloat16)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.groups, ctx.silu = groups, silu
        return y

    @staticmethod
    def backward(ctx, dy):
        x, weight, bias, mean, rstd = ctx.saved_tensors
        dy = dy.to(x.dtype).contiguous(memory_format=torch.channels_last)
        n, c, h, w = x.shape
        dx, dw, db = torch.empty_like(x), weight.new_empty(n, c), weight.new_empty(n, c)
        library().norm_backward(pointer(x), pointer(dy), pointer(dx), pointer(weight), pointer(bias), pointer(mean), pointer(rstd),
                                pointer(dw), pointer(db), n, h * w, c, ctx.groups, ctx.silu, x.dtype == torch.bfloat16)
        return dx, dw.sum(0), db.sum(0), None, None, None


class FastGroupNorm(nn.GroupNorm):
    silu = False

    def forward(self, x):
        if x.dim() != 4 or x.dtype not in (torch.float32, torch.bfloat16) or self.weight.dtype != torch.float32:
            y = super().forward(x)
            return nn.functional.silu(y) if self.silu else y
        return GroupNormFunction.apply(x, self.weight, self.bias, self.num_groups, self.eps, self.silu)


def install(model, fuse_silu=True):
    """Replaces group norms in place; where nothing but a SiLU follows (no time embedding uses it), fuses that too."""
    if not library():
        return model
    for m in model.modules():
        if type(m) is nn.GroupNorm:
            m.__class__ = FastGroupNorm
    for m in model.modules():
        if fuse_silu and type(m).__name__ == 'ResnetBlock2D' and m.time_emb_proj is None:
            m.norm1.silu = m.norm2.silu = True
            m.nonlinearity = nn.Identity()
        if fuse_silu and hasattr(m, 'conv_norm_out') and isinstance(getattr(m, 'conv_act', None), nn.SiLU):
            m.conv_norm_out.silu = True
            m.conv_act = nn.Identity()
    return model
