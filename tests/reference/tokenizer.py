#!/usr/bin/env python3
"""Makes tests/data/tokenizer/expected.json: several hundred strings in many scripts and the ids that transformers'
CLIPTokenizer gives them (without begin and end) with the small vocabulary beside it. Never run in CI.

Pinned: transformers 5.24.0, tokenizers 0.23.3.    usage: tokenizer.py FOLDER_WITH_VOCABULARY OUTPUT_FOLDER
"""
import json, random, shutil, sys, tempfile, unicodedata
from pathlib import Path
from transformers import CLIPTokenizer

source, out = map(Path, sys.argv[1:])
for name in ["vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"]:
    shutil.copyfile(source / name, out / name)
random.seed(3)

written = [
    "", " ", "a", "!", "A Portrait of a Person, smile expression, red background", "don't we'll I'm he's they've you'd it're 'tis ''s !'s",
    "'social 's's 'SOCIAL o'clock rock'n'roll", "a  b\t\tc\n\nd\r\ne\x0bf\x0cg", "12 3456 1,234.5 3.14e-10 ½ Ⅷ ² ٣٤٥ १२३ 四",
    "İstanbul IŞIK ẞ straße ΌΣΟΣ ΣΑΣ", "é e\u0301 Å A\u030a \u212b ﬁ ﬀ", "日本語のテキスト、漢字とかな。", "한국어 텍스트 \u1112\u1161\u11ab",
    "Привет, мир! ЁЖ", "مرحبا بالعالم ١٢٣", "שלום עולם", "नमस्ते दुनिया", "สวัสดีชาวโลก", "Γειά σου Κόσμε", "ქართული ᲥᲐᲠᲗᲣᲚᲘ", "ԱՐԵՎ արև",
    "🐈 👩‍👩‍👧‍👦 🇩🇪 ☺️ 👍🏽", "a\u200bb\u200cc\u200dd\ufeffe", "\u0085x\u00a0y\u2003z\u3000w\u2028v\u1680u", "…—–«»“”‘’„", "<|endoftext|>",
    "<|startoftext|> a", "x<|endoftext|>y", "A <|ENDOFTEXT|>! x", "!<|StartOfText|>?", "<|endoftext|", "<|endoftext|><|endoftext|>",
    "<|endoftext|> <|startoftext|>", "</w> a</w>", "Ġa Ċ", "a" * 300, "ab" * 200, "!" * 50, "(portrait:1.2), [photo], {x}", "C:\\path\\file_name-01.png",
    "http://example.org/?q=1&r=2#f", "mc² ≈ 9×10¹⁶ √2 ∑ ∞", "\u1e9b\u0323 \u0344 \u1100\u1161 \uac00\u11a8", "ǅ ǈ ǋ Ω K", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟘𝟙 𐐀𐐁 𐌀",
    "क्षि நி ক্ষ ກຳ", "x̂ ŷ̈ z\u0308\u0323", "\u0001\u001c\u001f\u007f", "e" + "\u0301" * 20,
    "micah portrait of a person, glasses, short black hair, smile expression, plain blue background, looking left, " * 3,
]
ranges = [(0x20, 0x7e), (0xa0, 0x24f), (0x250, 0x2ff), (0x370, 0x3ff), (0x400, 0x52f), (0x531, 0x58a), (0x5d0, 0x5ea), (0x600, 0x6ff),
          (0x900, 0x97f), (0xe00, 0xe7f), (0x10a0, 0x10ff), (0x1100, 0x11ff), (0x1e00, 0x1fff), (0x2000, 0x206f), (0x2150, 0x218b),
          (0x2190, 0x22ff), (0x2c60, 0x2c7f), (0x3040, 0x30ff), (0x4e00, 0x4fff), (0xa640, 0xa69f), (0xac00, 0xacff), (0xff00, 0xffef),
          (0x10400, 0x1044f), (0x1d400, 0x1d4ff), (0x1f300, 0x1f64f), (0x300, 0x36f)]
words = ["portrait", "Person", "RED", "background", "hair", "smile", "with", "a", "of", "glasses", "it's", "don't", "100", "x"]


def letters():
    low, high = random.choice(ranges)
    points = [c for c in range(low, high + 1) if unicodedata.category(chr(c)) != "Cn"]
    return "".join(chr(random.choice(points)) for _ in range(random.randint(1, 8)))


for _ in range(300):
    parts = [random.choice([letters, letters, lambda: random.choice(words)])() for _ in range(random.randint(1, 6))]
    written.append(random.choice(["", " ", " ", ", ", "\n"]).join(parts))


def rows(tokenizer, texts):
    return [{"text": t, "ids": tokenizer(t, add_special_tokens=False).input_ids} for t in texts]


plain = CLIPTokenizer.from_pretrained(out)
with tempfile.TemporaryDirectory() as folder:
    for name in ["vocab.json", "merges.txt"]:
        shutil.copyfile(source / name, Path(folder) / name)
    names = json.loads((source / "special_tokens_map.json").read_text())
    (Path(folder) / "special_tokens_map.json").write_text(json.dumps({**names, "pad_token": "!"}))
    config = json.loads((source / "tokenizer_config.json").read_text())
    (Path(folder) / "tokenizer_config.json").write_text(json.dumps({**config, "pad_token": "!"}))
    padded = CLIPTokenizer.from_pretrained(folder)
    assert padded.pad_token_id == plain.convert_tokens_to_ids("!")
    exclaimed = rows(padded, ["hi!", "!!", "a!b ! c?!", "wow", "<|endoftext|>!"])
document = {"plain": rows(plain, written), "pad_is_exclamation_mark": exclaimed,
            "padded": {"text": "a red cat", "ids": plain("a red cat", padding="max_length", max_length=77).input_ids}}
lines = ["{"]
for key, value in document.items():
    body = ",\n".join(json.dumps(row, ensure_ascii=True, separators=(",", ":")) for row in value) if isinstance(value, list) else json.dumps(value)
    lines.append(f'"{key}": ' + (f"[\n{body}\n]" if isinstance(value, list) else body) + ("," if key != "padded" else ""))
(out / "expected.json").write_text("\n".join(lines + ["}"]) + "\n")
print(len(written), "strings")
