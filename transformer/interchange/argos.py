"""Export of a trained model to Argos Translate and LibreTranslate: one archive for `argospm` and `argostranslate`.

The archive has one folder: a model of CTranslate2, one SentencePiece model for both sides, and metadata.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from transformer import languages
from transformer.data.tokenizer import Tokenizer
from transformer.errors import ConfigError
from transformer.interchange import ctranslate2
from transformer.interchange.portable import portable_models
from transformer.model.network import Transformer
from transformer.model.weights import Accepted

ACCEPTED: Mapping[str, Accepted] = ctranslate2.ACCEPTED
SENTENCEPIECE, MODEL, ENDING = "sentencepiece.model", "model", ".argosmodel"
ARGOS_VERSION = "1.9.0"
"""The version of Argos Translate that packages are for, as those made today say."""
CODE = re.compile(r"[a-z0-9]{2,8}")
VERSION = re.compile(r"\d+(\.\d+)*")
OWN_CODES = {"pt-BR": "pb", "zh-Hant": "zt"}
"""The codes that only Argos Translate has."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of all files in the archive, so that the same model gives the same bytes."""


def fill_argos(
    model: Transformer,
    tokenizer: Tokenizer,
    folder: Path,
    pair: tuple[str, str],
    version: str,
    quantization: str | None = None,
) -> None:
    """Write the folder of a package into `folder`. `pair` are the codes of source and target.

    Raises ConfigError for two models, as Argos Translate has one SentencePiece model for both sides, and as
    `fill_ctranslate2` does.
    """
    if len(tokenizer.models) > 1:
        raise ConfigError(
            "Argos Translate does not support this model: it has one SentencePiece model for both sides, not two"
        )
    root = folder / package_name(pair, version)
    (root / MODEL).mkdir(parents=True)
    ctranslate2.fill_ctranslate2(model, tokenizer, root / MODEL, quantization)
    (root / SENTENCEPIECE).write_bytes(portable_models(tokenizer)[0])
    source, target = map(argos_code, pair)
    metadata = {
        "package_version": version,
        "argos_version": ARGOS_VERSION,
        "from_code": source,
        "from_name": languages.english_name(languages.short_code(pair[0])),
        "to_code": target,
        "to_name": languages.english_name(languages.short_code(pair[1])),
        "type": "translate",
    }
    (root / "metadata.json").write_text(json.dumps(metadata, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")


def argos_code(code: str) -> str:
    """Return the code of a language in Argos Translate's index. Raises ConfigError for what cannot be one."""
    found = OWN_CODES.get(languages.short_code(code), languages.parse(code).code)
    if not CODE.fullmatch(found):  # it becomes the name of a folder
        raise ConfigError(f"{code!r} is no language code, such as en or gsw, which a package is named after")
    return found


def package_name(pair: tuple[str, str], version: str) -> str:
    """Return the name of a package's folder and archive. Raises ConfigError for a version that is none."""
    if not VERSION.fullmatch(version):
        raise ConfigError(f"the version of an Argos package has numbers and dots, such as 1.0, not {version!r}")
    source, target = map(argos_code, pair)
    return f"translate-{source}_{target}-{version.replace('.', '_')}"


def pack(folder: Path, name: str, card: str) -> None:
    """Replace the folder of a package in `folder` by its archive, with the card in it."""
    root = folder / name
    (root / "README.md").write_text(card, encoding="utf-8")
    with zipfile.ZipFile(folder / f"{name}{ENDING}", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path for path in root.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{name}/{file.relative_to(root).as_posix()}", EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            with file.open("rb") as content, archive.open(entry, "w", force_zip64=True) as packed:
                shutil.copyfileobj(content, packed)
    shutil.rmtree(root)


def how_to_use(pair: tuple[str, str], version: str) -> str:
    """Return the section of a card on how to use the package."""
    source, target = map(argos_code, pair)
    return f"""\
```python
import argostranslate.package, argostranslate.translate
argostranslate.package.install_from_path("{package_name(pair, version)}{ENDING}")
print(argostranslate.translate.translate("Text to translate.", "{source}", "{target}"))
```

LibreTranslate serves all installed packages; restart it. Argos Translate writes `_` as a blank, divides text into
sentences by a model that it downloads once, and ranks translations with a length penalty of its own."""
