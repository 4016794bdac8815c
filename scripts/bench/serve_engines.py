"""Serves other runtimes with the weights of a run, behind the server of this package, for `serve.py`.

    python scripts/bench/serve_engines.py ctranslate2 FOLDER
    python scripts/bench/serve_engines.py argos ARCHIVE.argosmodel
    python scripts/bench/serve_engines.py none .

`FOLDER` is what `transformer export --to ctranslate2` wrote. Argos Translate translates one text at a time, as
LibreTranslate has it do; only its sentence splitter is replaced, which would be downloaded. `none` answers
with the text itself: what the server takes without a model.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

from transformer.decoding.parts import Translation
from transformer.serving.app import make_app
from transformer.serving.batcher import Task, start_batcher
from transformer.serving.detection import make_detector
from transformer.serving.limits import Limits
from transformer.serving.metrics import Metrics
from transformer.serving.models import Catalogue, Pair
from transformer.serving.security import Keys
from transformer.serving.server import address_of, bind, make_server
from transformer.serving.service import Service

BEAM = 4
THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))


class Other:
    """An engine of functions over lists of texts."""

    attention: Task | None = None
    most = 1

    def __init__(self, translate: Callable[[list[str]], list[str]], sizes: Callable[[list[str]], list[int]]) -> None:
        self.best = Task("best", lambda lines: [[Translation(text, 0, 0, ())] for text in translate(lines)], sizes)
        self.several = self.best


def ctranslate2_engine(folder: Path) -> Other:
    """Return CTranslate2, which translates the lines of a batch together."""
    import ctranslate2
    import sentencepiece

    (tokenizer,) = folder.glob("*.model")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    model = ctranslate2.Translator(str(folder), device="cpu", intra_threads=THREADS)

    def translate(lines: list[str]) -> list[str]:
        found = model.translate_batch(pieces.encode(lines, out_type=str), beam_size=BEAM, max_decoding_length=256)
        return [pieces.decode(each.hypotheses[0]) for each in found]

    return Other(translate, lambda lines: [len(each) + 1 for each in pieces.encode(lines)])


def argos_engine(archive: Path) -> Other:
    """Return Argos Translate with a package, which is installed where `XDG_DATA_HOME` says."""
    for name in ("stanza", "minisbd"):
        sys.modules[name] = types.ModuleType(name)
    vars(sys.modules["minisbd"]).update(models=types.SimpleNamespace(), SBDetect=None)
    from argostranslate import package, translate

    class Whole:
        def __init__(self, pkg: object) -> None:
            """Take the package that it splits sentences for."""

        def split_sentences(self, text: str) -> list[str]:
            return [text]

    translate.MiniSBDSentencizer = Whole
    package.install_from_path(archive)
    (installed,) = package.get_installed_packages()
    codes = installed.from_code, installed.to_code
    return Other(lambda lines: [translate.translate(line, *codes) for line in lines], lambda lines: [1] * len(lines))


def no_engine(folder: Path) -> Other:
    """Return an engine that changes nothing."""
    return Other(lambda lines: lines, lambda lines: [len(line) for line in lines])


def main(kind: str, path: str) -> None:
    """Serve until a signal."""
    makers = {"ctranslate2": ctranslate2_engine, "argos": argos_engine, "none": no_engine}
    engine = makers[kind](Path(path))
    limits, metrics = Limits(), Metrics()
    batcher = start_batcher(limits, observe=lambda batch: metrics.observe("en-de", batch))
    service = Service(
        Catalogue([Pair("en", "de", engine, batcher, kind)]), make_detector(["en"]), limits, Keys(), metrics
    )
    with bind("127.0.0.1", 0) as bound:
        started = lambda: print(f"serving on {address_of(bound)};", file=sys.stderr, flush=True)  # noqa: E731
        make_server(make_app(service), limits.seconds, 5, started).run(sockets=[bound])


if __name__ == "__main__":
    main(*sys.argv[1:])
