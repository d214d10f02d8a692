"""A few iterations of guidance by parts of the picture, by an independent PyTorch loop: a face, two people, a box with the
mean difference. For tests/api/test_faces.c, on the tiny model (tiny.py) and the networks of face_networks.py.

    python3 tests/reference/guided_faces.py      (torch 2.15, diffusers 0.42.1, transformers 5.24, onnx 1.23)

The detectors find the same places in every picture, so nothing is detected here; the rest (similarity by singular values,
crops by grid_sample, pairing by trying all) is written anew. Not run by any test.
"""
import itertools, os
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
import face_networks
import guided

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, '..', 'data', 'models')
FACES = os.path.join(DATA, 'faces')
TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])


def similarity(p, q):
    """Umeyama 1991."""
    pc, qc = p - p.mean(0), q - q.mean(0)
    u, d, vt = np.linalg.svd(qc.T @ pc / len(p))
    sign = np.diag([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    a = np.trace(np.diag(d) @ sign) / pc.var(0).sum() * u @ sign @ vt
    return np.concatenate([a, (q.mean(0) - a @ p.mean(0))[:, None]], 1)


def crop(image, places, side, fine=1):
    """places: from output pixels (x, y) to pixels of the image, as a function of an array [2, n]."""
    n = side * fine
    y, x = (np.mgrid[:n, :n] + 0.5) / fine - 0.5
    p = places(np.stack([x.ravel(), y.ravel()]))
    size = np.array([image.shape[3], image.shape[2]])[:, None]
    grid = torch.tensor(2 * p / (size - 1) - 1).T.reshape(1, n, n, 2)
    out = F.grid_sample(image, grid, mode='bilinear', padding_mode='zeros', align_corners=True)
    return F.avg_pool2d(out, fine) if fine > 1 else out


def face_crop(image, face, scale, side=112):
    """A face of a frame of 32 x 32 in which the picture is `scale` times its size."""
    m = similarity(np.array(face_networks.face_points(*face)) / scale, (TEMPLATE + 0.5) * side / 112 - 0.5)
    inverse = np.linalg.inv(np.concatenate([m, [[0, 0, 1]]]))[:2]
    step = np.hypot(inverse[0, 0], inverse[1, 0])
    return crop(image, lambda p: inverse[:, :2] @ p + inverse[:, 2:], side, 1 if image.shape[3] < 256 else int(np.ceil(step)))


def box_crop(image, x, y, w, h, side):
    step = np.array([[w / side], [h / side]])
    return crop(image, lambda p: (p + 0.5) * step + np.array([[x], [y]]) - 0.5, side, max(1, int(np.ceil(max(w, h) / side))))


def reference(name):
    rgb = np.asarray(Image.open(os.path.join(HERE, '..', '..', 'assets', 'samples', name)).convert('RGB'))
    return torch.tensor(rgb / 255.0).permute(2, 0, 1)[None]


if __name__ == '__main__':
    torch.set_num_threads(1)
    model = guided.load(os.path.join(DATA, 'tiny'), 'red person on a hill', 'rain', 7)
    embedder, small = guided.Encoder(os.path.join(FACES, 'embedder.onnx')), guided.Encoder(os.path.join(FACES, 'judge.onnx'))
    cosine = lambda a, b: F.cosine_similarity(a, b).sum()
    micah, lorelei = reference('micah.png'), reference('lorelei.png')
    frame = 32 / micah.shape[3]                        # the detectors' input is 32 x 32; the new pictures are 16 x 16
    tensors = {}

    def keep(name, loss_of, iterations):
        losses, norms, picture = guided.guide(*model, loss_of, iterations)
        print(name, losses)
        tensors[name + '.losses'], tensors[name + '.norms'] = torch.tensor(losses), torch.tensor(norms)
        tensors[name + '.picture'] = picture.detach().float().contiguous()
        return picture.detach().clamp(0, 1).mul(255).round() / 255

    one = embedder(face_crop(micah, face_networks.ONE, frame))
    made = keep('face', lambda x: 100 * (1 - cosine(embedder(face_crop(x, face_networks.ONE, 2)), one)), 3)
    judge = [small(face_crop(x, face_networks.ONE, s, 48)) for x, s in ((made, 2), (micah, frame))]
    tensors['face.judge'] = cosine(*judge).reshape(1)

    people = [embedder(face_crop(x, face_networks.TWO[0], frame)) for x in (micah, lorelei)]   # the larger one of each

    def two(x):
        faces = [embedder(face_crop(x, f, 2)) for f in face_networks.TWO]
        return 100 * (2 - max(sum(cosine(f, people[p]) for f, p in zip(faces, order)) for order in itertools.permutations((0, 1))))
    keep('two', two, 3)

    thing = box_crop(micah, 0, 0, 256, 256, 48)

    def box(x):
        c = box_crop(x, 3, 2, 10, 9, 48)
        return 100 * (1 - cosine(small(c), small(thing))) + 100 * 10 * (c - thing).abs().mean()
    keep('box', box, 3)
    save_file({k: v.float() for k, v in tensors.items()}, os.path.join(FACES, 'guided.safetensors'))
