#!/usr/bin/env python3
"""Makes tests/data/fuzz: seeds written here, and what fuzzing from them found.

usage: python3 tests/fuzz/make_corpus.py BUILD_FOLDER [SECONDS]

Seeds of the formats whose examples lie in tests/data already are not repeated. Then every fuzzer runs for SECONDS (60)
and keeps, smallest first, the inputs that its coverage consists of; what makes up less than 40 KB a fuzzer is left in
tests/data/fuzz/NAME/found_NNN. Needs the built fuzzers, nothing else.
"""
import glob
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = os.path.join(ROOT, "tests", "data")
MOST = 40000
SEEDS = {
    "onnx": ["onnx/*.onnx", "models/onnx_*/network.onnx"],
    "onnx_graph": ["models/onnx_*/network.onnx"],
    "png": ["pictures/*.png"],
    "jpeg": ["pictures/*.jpg"],
    "config": ["models/*/config.json"],
    "checkpoint": ["embeddings/h*.safetensors", "models/taesd/taesd_decoder.safetensors"],
}


def safetensors(header, data=b""):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text)) + text + data


def exif(order, entries, comment=b""):
    """A TIFF header, one directory, and an EXIF directory that holds a user comment."""
    def pack(form, *values):
        return struct.pack((">" if order == b"MM" else "<") + form, *values)
    count = len(entries) + 1
    exif_at = 8 + 2 + 12 * count + 4
    comment_at = exif_at + 2 + 12 + 4
    out = order + pack("HI", 42, 8) + pack("H", count)
    for tag, kind, number, value in entries:
        out += pack("HHI", tag, kind, number) + (pack("HH", value, 0) if kind == 3 else pack("I", value))
    out += pack("HHII", 0x8769, 4, 1, exif_at) + pack("I", 0)
    out += pack("H", 1) + pack("HHII", 0x9286, 7, len(comment), comment_at) + pack("I", 0) + comment
    return b"Exif\0\0" + out


def small_checkpoint(open_clip, averaged=False):
    """A whole checkpoint of one level whose large sizes are 0, so that it needs few bytes."""
    shapes = {}

    def layer(name, *shape):
        shapes[name + ".weight"] = shape
        shapes[name + ".bias"] = shape[:1]
    unet, vae = "model.diffusion_model.", "first_stage_model."
    layer(unet + "time_embed.0", 8, 0)
    layer(unet + "time_embed.2", 0, 0)
    layer(unet + "input_blocks.0.0", 32, 4, 1, 1)
    layer(unet + "out.0", 0)
    layer(unet + "out.2", 4, 0, 1, 1)
    for place in ("input_blocks.1.0", "middle_block.0", "middle_block.2", "output_blocks.0.0", "output_blocks.1.0"):
        for part in ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3"):
            layer(unet + place + "." + part, 32, 0, 3, 3)
    for place in ("input_blocks.1.1", "middle_block.1", "output_blocks.0.1"):
        layer(unet + place + ".norm", 0)
        layer(unet + place + ".proj_in", *((0, 0) if open_clip else (0, 0, 1, 1)))
        shapes[unet + place + ".transformer_blocks.0.attn2.to_k.weight"] = (0, 8)
    for half in ("encoder", "decoder"):
        layer(f"{vae}{half}.conv_in", 0, 4, 3, 3)
        layer(f"{vae}{half}.conv_out", 3, 0, 1, 1)
        layer(f"{vae}{half}.{'up' if half == 'decoder' else 'down'}.0.block.0.conv1", 32, 0, 3, 3)
        layer(f"{vae}{half}.mid.attn_1.q", 0, 0, 1, 1)
    text = "cond_stage_model.model." if open_clip else "cond_stage_model.transformer.text_model."
    if open_clip:
        shapes |= {text + "token_embedding.weight": (1, 64), text + "positional_embedding": (7, 0),
                   text + "transformer.resblocks.0.attn.in_proj_weight": (6, 2), text + "transformer.resblocks.23.x": (1,),
                   text + "transformer.resblocks.0.ln_1.weight": (0,), text + "transformer.resblocks.0.mlp.c_fc.weight": (4, 0)}
    else:
        shapes |= {text + "embeddings.token_embedding.weight": (1, 64), text + "embeddings.position_embedding.weight": (7, 0),
                   text + "encoder.layers.0.layer_norm1.weight": (0,), text + "encoder.layers.0.mlp.fc1.weight": (4, 0)}
    if averaged:
        shapes |= {"model_ema." + k[6:].replace(".", ""): v for k, v in shapes.items() if k.startswith("model.")}
    shapes |= {"betas": (2,), "somebody.else": (1,)}
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 1
        for n in shape:
            size *= n
        header[name] = {"dtype": "U8", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    return safetensors(header, bytes(at))


def written_seeds():
    yield "checkpoint", "sd1", small_checkpoint(False)
    yield "checkpoint", "sd2", small_checkpoint(True)
    yield "checkpoint", "averaged", small_checkpoint(False, True)
    yield "checkpoint", "lora", safetensors({f"lora_unet_down_blocks_0_attentions_0_proj_in.{part}": {
        "dtype": "F16", "shape": shape, "data_offsets": [4 * i, 4 * i + 4]}
        for i, (part, shape) in enumerate([("lora_down.weight", [1, 2]), ("lora_up.weight", [2, 1]), ("alpha", [2])])},
        bytes(12))
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    yield "safetensors", "good", safetensors({"__metadata__": {"format": "pt"}, "a": one, "b": {
        "dtype": "F16", "shape": [1, 3], "data_offsets": [8, 14]}, "c": {"dtype": "U8", "shape": [], "data_offsets": [
            14, 15]}, "e": {"dtype": "BF16", "shape": [0], "data_offsets": [15, 15]}}, bytes(range(15)))
    yield "safetensors", "every_type", safetensors({n: {"dtype": n, "shape": [1], "data_offsets": [8 * i, 8 * i + b]}
                                                    for i, (n, b) in enumerate([("F64", 8), ("I64", 8), ("U64", 8)])},
                                                   bytes(24))
    yield "safetensors", "overlap", safetensors({"a": one, "b": one}, bytes(8))
    yield "safetensors", "hole", safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8))
    yield "safetensors", "cut", safetensors({"a": one}, bytes(4))
    yield "safetensors", "empty", b""
    yield "safetensors", "huge_header", struct.pack("<Q", 1 << 62) + b"{}"
    yield "safetensors", "overflow", safetensors({"a": {"dtype": "F32", "shape": [1 << 40, 1 << 40],
                                                        "data_offsets": [0, 0]}})
    yield "safetensors", "escape", safetensors({"\x1b]0;x\x07\n": {"dtype": "Z\u0085", "shape": [1],
                                                                   "data_offsets": [0, 1]}}, b"\0")
    yield "exif", "turned", exif(b"II", [(0x0112, 3, 1, 6)], b"ASCII\0\0\0a cat")
    yield "exif", "big", exif(b"MM", [(0x0112, 3, 1, 3)], b"UNICODE\0" + "a \u732b".encode("utf-16-be"))
    yield "exif", "no_such_turn", exif(b"MM", [(0x0112, 3, 1, 99), (0x010F, 2, 4, 0x43616E00)])
    yield "exif", "long_comment", exif(b"II", [(0x0112, 4, 1, 6)], b"UNICODE\0" + b"\xd8\x00" * 20)
    yield "exif", "loop", exif(b"II", [(0x8769, 4, 1, 8)])
    index = {"_class_name": "LikenessPipeline", "_diffusers_version": "0.30.0",
             "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
             "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
             "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
             "likeness": {"name": "n", "size": 128, "steps": 4, "guidance": 1.0, "prediction": "velocity",
                          "identity_encoder": "identity.onnx", "judge": "judge.onnx"}}
    yield "config", "index.json", json.dumps(index).encode()
    yield "config", "scheduler.json", json.dumps({
        "_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.30.0", "num_train_timesteps": 1000,
        "shift": 1.0, "use_dynamic_shifting": False, "base_shift": 0.5, "max_shift": 1.15}).encode()
    yield "config", "deep.json", b"[" * 70
    yield "config", "twice.json", b'{"a": 1, "a": 2}'
    yield "config", "texts.json", b'{"a": "\\ud83d\\ude00 \\u0000 \\n", "b": [1e999, -0, 0.1e-7, true, null, {}]}'
    vocabulary = {c: i for i, c in enumerate("abc")}
    vocabulary.update({c + "</w>": i + 3 for i, c in enumerate("abc!")})
    vocabulary.update({"ab": 7, "ab</w>": 8, "<|startoftext|>": 9, "<|endoftext|>": 10})
    words = json.dumps(vocabulary).encode()
    merges = b"#version: 0.2\na b\na b</w>\n"
    yield "tokenizer", "two_files", words + b"\0" + merges
    yield "tokenizer", "four_files", b"\0".join([words, merges, json.dumps({
        "bos_token": {"content": "<|startoftext|>", "normalized": True}, "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>", "pad_token": "!</w>"}).encode(), json.dumps({
            "model_max_length": 77, "do_lower_case": True, "tokenizer_class": "CLIPTokenizer"}).encode()])
    yield "tokenizer", "unknown_merge", words + b"\0" + b"a z\n"
    yield "tokenizer", "empty", b""
    for i, text in enumerate(["", "micah portrait of a person, smile expression, red background",
                              "Zürich \u732b \U0001F408 don't <|endoftext|><|STARTOFTEXT|> 12 e\u0301 \u0130",
                              "a " * 80, "\uac00\u1100\u1161\u2003\u200b\ufeff\u00df\u01c5"]):
        yield "prompt", "text_%d" % i, text.encode()
    yield "prompt", "not_utf8", b"a \xff\xfe \xed\xa0\x80 \xc0\x80 \xf4\x90\x80\x80 \xe2\x82"
    yield "infotext", "own", b"a person\nSteps: 4, Sampler: Euler, CFG scale: 1, Seed: 7, Size: 128x128, Model: \"a, b\""
    yield "infotext", "foreign", (b"cat, (fluffy:1.2)\nNegative prompt: dog,\nmouse\nSteps: 20, Sampler: DPM++ 2M, "
                                  b"Lora hashes: \"a: 1, b: \\\"2\\\"\", Version: v1")
    yield "infotext", "only_prompt", b"only a prompt, style: bold"
    yield "infotext", "quotes", b"p\nA b: \"x\\u00e9\", Cc: \"\\\", Dd: \" \", Ee: \"a\"b, Ff: "
    yield "infotext", "xmp", b"<x:xmpmeta DigitalSourceType=\"http://cv.iptc.org/newscodes/digitalsourcetype/" \
                             b"trainedAlgorithmicMedia\"/>"


def main():
    build = sys.argv[1]
    seconds = sys.argv[2] if len(sys.argv) > 2 else "60"
    corpus = os.path.join(DATA, "fuzz")
    for name, file, data in written_seeds():
        os.makedirs(os.path.join(corpus, name), exist_ok=True)
        with open(os.path.join(corpus, name, file), "wb") as out:
            out.write(data)
    if seconds == "0":
        return
    for program in sorted(glob.glob(os.path.join(build, "tests", "fuzz", "fuzz_*"))):
        name = os.path.basename(program)[5:]
        if not os.access(program, os.X_OK) or os.path.isdir(program):
            continue
        folder = os.path.join(corpus, name)
        os.makedirs(folder, exist_ok=True)
        patterns = [os.path.join(DATA, p) for p in SEEDS.get(name, [])]
        patterns += [os.path.join(folder, "*")] if os.listdir(folder) else []
        with tempfile.TemporaryDirectory() as kept:
            subprocess.run([program, "--keep", kept] + patterns, check=True,
                           env=dict(os.environ, LIKENESS_FUZZ_SECONDS=seconds))
            for old in glob.glob(os.path.join(folder, "found_*")):
                os.remove(old)
            total = 0
            for i, file in enumerate(sorted(os.listdir(kept))):
                total += os.path.getsize(os.path.join(kept, file))
                if total < MOST:
                    shutil.copyfile(os.path.join(kept, file), os.path.join(folder, "found_%03d" % i))


main()
