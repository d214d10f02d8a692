"""Makes tests/data/tokenizer/random.txt: hashes of the ids that transformers' CLIPTokenizer (the fast one) gives 20,000 random
strings in over 20 scripts, with CLIP's whole vocabulary and with the small one of the tests. The strings come from a generator
that tests/io/test_tokenizer_random.c has, too.

    python3 tests/reference/tokenizer_random.py            (transformers 5.24.0, tokenizers 0.23.3). Not run by any test.
    python3 tests/reference/tokenizer_random.py 1234       shows string 1234 and its ids
"""
import gzip, hashlib, json, os, struct, sys, tempfile, unicodedata
from transformers import CLIPTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, '..', 'data', 'tokenizer')
COUNT, BLOCK = 20000, 200
SCRIPTS = [(0x21, 0x7e), (0x61, 0x7a), (0xa1, 0x17f), (0x1e00, 0x1eff), (0x3a3, 0x3ff), (0x400, 0x52f), (0x531, 0x556), (0x561, 0x587),
           (0x5d0, 0x5ea), (0x620, 0x669), (0x904, 0x94d), (0x995, 0x9a8), (0xbae, 0xbb9), (0xe01, 0xe3a), (0xf40, 0xf47), (0x10d0, 0x10f0),
           (0x1c90, 0x1cba), (0x1208, 0x1246), (0x13a0, 0x13f5), (0x1780, 0x17b3), (0x3041, 0x3096), (0x30a1, 0x30fa), (0x4e00, 0x9fa5),
           (0xac00, 0xd7a3), (0x1100, 0x11ff), (0x1f300, 0x1f320), (0x1f600, 0x1f64f), (0x1f3fb, 0x1f3ff), (0x1f1e6, 0x1f1ff), (0x1d400, 0x1d454),
           (0xff01, 0xff5e), (0x2010, 0x2027), (0x2070, 0x2071), (0x2150, 0x2188), (0x2190, 0x22ff), (0x300, 0x36f), (0x10400, 0x1044f)]
WORDS = ["portrait", "Person", "RED", "background", "it's", "don't", "I'LL", "we've", "100", "3.14", "<|endoftext|>", "<|startoftext|>",
         "(word:1.2)", "\u200d", "\ufe0f", "\u0130", "\u00df", "\ufb01", "a\u0301", "\u2764\ufe0f\u200d\U0001f525"]
GAPS = ["", " ", " ", ", ", "\n", "\t ", "\u3000", "\u00a0", "-", "'"]


class Generator:
    def __init__(self, n):
        self.state = n * 0x9e3779b97f4a7c15 % 2 ** 64
        self.below(1)

    def below(self, limit):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2 ** 64
        return (self.state >> 33) % limit


def string(n):
    g, out = Generator(n), ''
    for part in range(1 + g.below(6)):
        if part:
            out += GAPS[g.below(len(GAPS))]
        if g.below(4) == 0:
            out += WORDS[g.below(len(WORDS))]
        else:
            low, high = SCRIPTS[g.below(len(SCRIPTS))]
            for _ in range(1 + g.below(8)):
                out += chr(low + g.below(high - low + 1))
    return out


def clip(folder):
    merges = gzip.open(os.path.join(HERE, '..', '..', 'third_party', 'data', 'clip_merges.txt.gz')).read().decode()
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in kept] + [chr(256 + i) for i in range(256 - len(kept))]
    vocabulary = letters + [x + '</w>' for x in letters] + [m.replace(' ', '') for m in merges.splitlines()[1:]]
    vocabulary += ['<|startoftext|>', '<|endoftext|>']
    assert len(vocabulary) == 49408
    with open(os.path.join(folder, 'vocab.json'), 'w') as f:
        json.dump({word: i for i, word in enumerate(vocabulary)}, f)
    with open(os.path.join(folder, 'merges.txt'), 'w') as f:
        f.write(merges)
    return CLIPTokenizer.from_pretrained(folder)


if __name__ == '__main__':
    for low, high in SCRIPTS:
        assert all(unicodedata.category(chr(c)) != 'Cn' for c in range(low, high + 1)), hex(low)
    with tempfile.TemporaryDirectory() as folder:
        tokenizers = {'clip': clip(folder), 'small': CLIPTokenizer.from_pretrained(DATA)}
    assert all(t.is_fast for t in tokenizers.values())
    if len(sys.argv) > 1:
        n = int(sys.argv[1])
        print(ascii(string(n)))
        for name, t in tokenizers.items():
            print(name, *t(string(n), add_special_tokens=False).input_ids)
        sys.exit()
    with open(os.path.join(DATA, 'random.txt'), 'w') as f:
        for name, t in tokenizers.items():
            for begin in range(0, COUNT, BLOCK):
                h = hashlib.sha256()
                for ids in t([string(n) for n in range(begin, begin + BLOCK)], add_special_tokens=False).input_ids:
                    h.update(struct.pack(f'<{len(ids) + 1}i', *ids, -1))
                f.write(f'{name} {h.hexdigest()[:16]}\n')
    print(sum(len(string(n)) for n in range(COUNT)), 'characters')
