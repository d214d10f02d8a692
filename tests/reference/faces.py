"""Fixtures of tests/models/test_face_detector.c and tests/personalize/test_faces.c: faces as OpenCV finds them with YuNet, a
small detector of the SCRFD family with random weights and what a NumPy decoder makes of it, similarity transforms by
singular values, crops by PyTorch.

    python3 tests/reference/faces.py YUNET.onnx
          (torch 2.15, onnx 1.23, onnxruntime 1.32, opencv-python-headless 5.0.0.93, Pillow)

Every face here is drawn: the picture is put together from assets/samples. YuNet's file itself is not copied. Not run by any
test.
"""
import os, sys
import cv2
import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, '..', 'data')
OUT = os.path.join(DATA, 'models', 'faces')
sys.path.insert(0, HERE)
import face_networks  # noqa: E402
TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])


def sheet():
    """Three drawn faces of different sizes, 340 x 150: no multiple of 32."""
    page = np.full((150, 340, 3), 255, np.uint8)
    for name, side, x, y in (('micah', 128, 4, 12), ('avataaars', 96, 134, 50), ('personas', 104, 232, 3)):
        picture = Image.open(os.path.join(HERE, '..', '..', 'assets', 'samples', name + '.png')).convert('RGB')
        page[y:y + side, x:x + side] = np.asarray(picture.resize((side, side), Image.Resampling.BOX))
    image = Image.fromarray(page).quantize(64, dither=Image.Dither.NONE)
    image.save(os.path.join(DATA, 'pictures', 'faces.png'), optimize=True)
    return np.asarray(image.convert('RGB'))


def opencv_yunet(path, rgb):
    """[n,15]: x, y, width, height, five points, score, best first."""
    found = cv2.FaceDetectorYN.create(path, '', rgb.shape[1::-1], 0.5, 0.3, 5000).detect(np.ascontiguousarray(rgb[..., ::-1]))[1]
    return found[np.argsort(-found[:, 14])]


def yunet(path, rgb):
    session = onnxruntime.InferenceSession(path)
    h, w = [(n + 31) // 32 * 32 for n in rgb.shape[:2]]
    x = np.zeros((1, 3, h, w), np.float32)
    x[0, :, :rgb.shape[0], :rgb.shape[1]] = rgb[..., ::-1].transpose(2, 0, 1)
    names = [f'{k}_{s}' for s in (8, 16, 32) for k in ('cls', 'obj', 'bbox', 'kps')]
    return {'yunet.' + n: torch.tensor(v[0]) for n, v in zip(names, session.run(names, {session.get_inputs()[0].name: x}))}


def scrfd_oracle(outputs, width, threshold):
    """Boxes and points of the frame, by plain loops."""
    rows = []
    for score, box, points, stride in zip(*[iter(outputs)] * 3, (8, 16, 32)):
        anchors, columns = 2, width // stride
        for i in range(len(score)):
            if score[i, 0] < threshold:
                continue
            x, y = (i // anchors % columns) * stride, (i // anchors // columns) * stride
            l, t, r, b = box[i] * stride
            rows.append([x - l, y - t, x + r, y + b, score[i, 0], *(points[i].reshape(5, 2) * stride + [x, y]).ravel()])
    rows = sorted(rows, key=lambda r: -r[4])
    kept = []
    for r in rows:
        def overlap(k):
            iw, ih = min(r[2], k[2]) - max(r[0], k[0]) + 1, min(r[3], k[3]) - max(r[1], k[1]) + 1
            both = max(iw, 0) * max(ih, 0)
            return both / ((r[2] - r[0] + 1) * (r[3] - r[1] + 1) + (k[2] - k[0] + 1) * (k[3] - k[1] + 1) - both)
        if all(overlap(k) <= 0.4 for k in kept):
            kept.append(r)
    return np.array(kept)


def scrfd(rgb):
    """The picture stands at a scale of 1 in the upper left corner of the file's fixed 352 x 160."""
    path = os.path.join(OUT, 'scrfd.onnx')
    face_networks.write_scrfd(path)
    x = np.zeros((160, 352, 3), np.float32)
    x[:rgb.shape[0], :rgb.shape[1]] = rgb
    # 340 x 150 goes into 352 x 160 with a factor 352/340 = 1.035: the test brings its own frame of factor 1.
    x = ((x - 127.5) / 128).transpose(2, 0, 1)[None].astype(np.float32)
    session = onnxruntime.InferenceSession(path)
    outputs = session.run(None, {'pixels': x})                       # scores, boxes, points: three of each
    outputs = [outputs[3 * k + s].astype(np.float16).astype(np.float32) for s in range(3) for k in range(3)]
    scores = np.concatenate([o[:, 0] for o in outputs[::3]])
    threshold = np.sort(scores)[-400]
    faces = scrfd_oracle(outputs, 352, threshold)
    print('scrfd', len(scores), 'cells,', (scores >= threshold).sum(), 'candidates,', len(faces), 'faces')
    return {'scrfd.threshold': torch.tensor([threshold]),
            'scrfd.faces': torch.tensor(faces[:64]).float(),
            **{f'scrfd.{n}_{s}': torch.tensor(outputs[3 * i + k]).half()
               for i, s in enumerate((8, 16, 32)) for k, n in enumerate(('cls', 'bbox', 'kps'))}}


def umeyama(p, q):
    """Umeyama 1991: singular values of the covariance, reflections excluded."""
    pc, qc = p - p.mean(0), q - q.mean(0)
    u, d, vt = np.linalg.svd(qc.T @ pc / len(p))
    sign = np.diag([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    r = u @ sign @ vt
    scale = np.trace(np.diag(d) @ sign) / pc.var(0).sum()
    return np.concatenate([scale * r, (q.mean(0) - scale * r @ p.mean(0))[:, None]], 1)


def alignment(rgb, found):
    rng = np.random.default_rng(3)
    sets = [f[4:14].reshape(5, 2) for f in found.astype(np.float64)]
    sets[0] = sets[0] + [25, -20]                                    # partly outside the picture
    sets += [rng.normal(size=(5, 2)) * 30 + 60 for _ in range(20)]
    sets += [TEMPLATE * [-1, 1] * 2 + [300, 7]]                     # mirrored: the best turn is no mirror
    matrices = [umeyama(p, TEMPLATE) for p in sets]
    image = torch.tensor(rgb / 255.0).permute(2, 0, 1)[None]
    crops = []
    for m in matrices[:3]:
        inverse = np.linalg.inv(np.concatenate([m, [[0, 0, 1]]]))[:2]
        oy, ox = np.mgrid[:112, :112]
        places = inverse @ np.stack([ox.ravel(), oy.ravel(), np.ones(112 * 112)])
        grid = torch.tensor(2 * places / (np.array(rgb.shape[1::-1])[:, None] - 1) - 1).T.reshape(1, 112, 112, 2)
        crops.append(F.grid_sample(image, grid, mode='bilinear', padding_mode='zeros', align_corners=True)[0])
    return {'align.points': torch.tensor(np.array(sets)).double(), 'align.matrices': torch.tensor(np.array(matrices)).double(),
            'align.crops': torch.stack(crops)[:, :, ::8, ::8].contiguous().float()}


if __name__ == '__main__':
    os.makedirs(OUT, exist_ok=True)
    rgb = sheet()
    found = opencv_yunet(sys.argv[1], rgb)
    print(found.round(2))
    save_file({'yunet.faces': torch.tensor(found).float(), **yunet(sys.argv[1], rgb), **scrfd(rgb), **alignment(rgb, found)},
              os.path.join(OUT, 'case.safetensors'))
    face_networks.write_all(os.path.join(DATA, 'models', 'faces'))
