"""What is served is what `translate` gives, with the sentences of long lines in batches of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("starlette", reason="serving needs the extra [serve]")

from support.toy import CPU

from transformer.data.lengths import Lengths
from transformer.decoding.translator import Translator, make_translator
from transformer.serving.batcher import Batch, start_batcher
from transformer.serving.engine import TranslatorEngine
from transformer.serving.limits import Limits

SENTENCE = "one two three."


def test_long_lines_are_served_as_they_are_translated(translator: Translator) -> None:
    length = len(translator.tokenizer.encode_source([SENTENCE])[0])
    cfg = replace(translator.cfg, beam=3)
    short = make_translator(translator.model, translator.tokenizer, cfg, 256, CPU, Lengths(length, 8, 1))
    lines = [
        " ".join([SENTENCE, "four five.", "eight two.", "six."]),
        "",
        SENTENCE,
        "  ",
        "seven. eight. nine. ten. one.",
    ]
    engine, batches = TranslatorEngine(short), list[Batch]()
    batcher = start_batcher(Limits(batch_tokens=8), observe=batches.append)
    for task, nbest in ((engine.best, 1), (engine.several, 3)):
        served = batcher.submit(task, lines, "a").result(60)
        for ways, wanted in zip(served, short.translate(lines, nbest), strict=True):
            assert [way.text for way in ways] == [way.text for way in wanted]
            assert [way.score for way in ways] == pytest.approx([way.score for way in wanted], rel=1e-5)
    assert batcher.close(5)
    assert sum(batch.parts for batch in batches) == 2 * sum(map(len, short.parts.cut(lines))) > 2 * len(lines)
    assert len(batches) > 4
