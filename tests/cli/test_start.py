"""How `translate` starts and ends: what it imports, how long that takes, and which weights are in memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.command import ENVIRONMENT
from support.toy import CPU

from transformer.decoding.batches import Piece
from transformer.decoding.int8 import build
from transformer.decoding.loading import load_translator
from transformer.decoding.translator import Translator
from transformer.runs.checkpoint import save_checkpoint
from transformer.runs.models import StoredModel, build_model, load_model
from transformer.runs.run import open_run, write_run

needs_kernels = pytest.mark.skipif(build.library() is None, reason="needs the 8-bit kernels")
NEEDLESS = (
    *("torch._dynamo", "torch._inductor", "torch.distributed.fsdp", "torch.onnx", "sympy", "mpmath", "datasets"),
    *("pyarrow", "pandas", "sacrebleu", "matplotlib", "jinja2", "nltk", "scipy"),
    *("ctranslate2", "transformers", "huggingface_hub", "tensorboard", "xml", "aiohttp"),
    *("transformer.data.corpus", "transformer.evaluation", "transformer.training", "transformer.interchange"),
    *("transformer.serving", "transformer.synthesis"),
)
"""Modules without which a sentence can be translated. What torch itself imports is another matter."""
PROGRAM = """
import time
start = time.process_time()
import torch
torch_seconds = time.process_time() - start

import atexit, json, sys
of_torch = set(sys.modules)
def report():
    seconds = time.process_time() - start - torch_seconds
    print(json.dumps([torch_seconds, seconds, sorted(sys.modules.keys() - of_torch)]), file=sys.stderr)
atexit.register(report)
from transformer.cli.main import command
command(sys.argv[1:])
"""


@pytest.mark.parametrize("precision", [pytest.param("int8", marks=needs_kernels), "float32"])
def test_a_translation_imports_what_it_needs_and_takes_less_time_than_torch(trained_run: Path, precision: str) -> None:
    program = [sys.executable, "-c", PROGRAM, "translate", str(trained_run), f"decode.precision={precision}"]
    done = subprocess.run(program, env=ENVIRONMENT, input=b"seven\n", capture_output=True, timeout=100)
    assert (done.returncode, done.stdout.decode()) == (0, "sieben\n"), done.stderr.decode()
    importing, everything_else, modules = json.loads(done.stderr.splitlines()[-1])
    assert not {name for name in modules if name in NEEDLESS or name.startswith(tuple(f"{each}." for each in NEEDLESS))}
    assert everything_else < importing


@pytest.fixture
def stored(trained_run: Path) -> Translator:
    """Return a translator in 8 bits whose weights are on disk."""
    return load_translator(trained_run, ["decode.precision=int8"], CPU)[1]


def in_memory(translator: Translator) -> bool:
    (model,) = translator.decoder.sources
    assert isinstance(model, StoredModel)
    return not model._outline.target_embedding.weight.is_meta


@needs_kernels
def test_float32_weights_are_read_when_they_are_needed(stored: Translator, trained_run: Path) -> None:
    ((found,),) = stored.translate(["seven eight nine"])
    assert found.text == "neun acht sieben"
    assert not in_memory(stored)
    model, _ = load_model(open_run(trained_run))
    assert stored.model.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in stored.model.state_dict().items())
    (rated,) = stored.score(["seven eight nine"], [found.text])
    assert rated.log_prob == pytest.approx(found.log_prob, abs=0.05)
    assert in_memory(stored)


@needs_kernels
def test_the_weights_can_be_read_when_the_checkpoint_is_gone(stored: Translator, trained_run: Path) -> None:
    shutil.rmtree(trained_run / "checkpoints")
    assert stored.score(["seven"], ["sieben"])[0].log_prob > -0.5


@needs_kernels
def test_eight_bits_know_whether_a_translation_ends_itself(stored: Translator) -> None:
    """A translation at its limit is not a reason to read the weights."""
    (source,), (ids,) = stored.tokenizer.encode_source(["seven eight"]), stored.tokenizer.encode_target(["acht sieben"])
    ends = [stored.decoder.ends_itself(Piece(source), ids[:count]) for count in range(len(ids) + 1)]
    assert ends == [False] * len(ids) + [True]
    assert not in_memory(stored)


GROWTH = """
import sys
from pathlib import Path
import torch
from transformer.decoding.loading import load_translator

def kib(name):
    return int(Path("/proc/self/status").read_text().split(name)[1].split()[0])

def translate(run):
    _, translator, _ = load_translator(Path(run), ["decode.precision=int8", "decode.max_extra=1"], torch.device("cpu"))
    list(translator.translate(["seven eight nine"]))
    return translator

small = translate(sys.argv[1])
before = kib("VmRSS:")
large = translate(sys.argv[2])
print((kib("VmHWM:") - before) * 1024)
"""


@needs_kernels
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_float32_copy_of_the_weights_is_in_memory(trained_run: Path, tmp_path: Path) -> None:
    """Those in 8 bits take a quarter of it. Those in float32 are read layer by layer."""
    run = open_run(trained_run)
    cfg = replace(
        run.config,
        model=replace(run.config.model, width=512, heads=8, feed_forward=2048, encoder_layers=4, decoder_layers=4),
    )
    large = write_run(tmp_path / "large", cfg, run.tokenizer)
    model = build_model(cfg, run.tokenizer)
    save_checkpoint(
        large.checkpoints / "step-00000001", model.state_dict(), None, {"tokenizer": run.tokenizer.fingerprint}
    )
    size = 4 * sum(weight.numel() for weight in model.parameters())
    program = [sys.executable, "-c", GROWTH, str(trained_run), str(large.path)]
    done = subprocess.run(program, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=100)
    assert size // 4 < int(done.stdout) < size * 3 // 4
