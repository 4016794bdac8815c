"""Train, evaluate and use encoder-decoder translation models.

    import transformer

    model = transformer.load("runs/mine")
    for translation in model.translate(["The sun is shining."]):
        print(translation)

Importing this package is cheap: PyTorch is imported by the first call that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformer.errors import CheckpointError, ConfigError, DataError, DeviceError, TransformerError

if TYPE_CHECKING:
    from transformer.api import Model, TrainingResult, check, compare, evaluate, export, import_model, load, train
    from transformer.decoding.parts import Translation
    from transformer.evaluation.check import Check
    from transformer.evaluation.compare import Comparison
    from transformer.evaluation.evaluate import Evaluation
    from transformer.interchange.export import Export
    from transformer.interchange.importing import Import

__version__ = "0.8.0"
__all__ = [
    "Check",
    "CheckpointError",
    "Comparison",
    "ConfigError",
    "DataError",
    "DeviceError",
    "Evaluation",
    "Export",
    "Import",
    "Model",
    "TrainingResult",
    "TransformerError",
    "Translation",
    "__version__",
    "check",
    "compare",
    "evaluate",
    "export",
    "import_model",
    "load",
    "train",
]

_LAZY = dict.fromkeys(
    ("Model", "TrainingResult", "check", "compare", "evaluate", "export", "import_model", "load", "train"),
    "transformer.api",
)
_LAZY["Translation"] = "transformer.decoding.translator"
_LAZY["Check"] = "transformer.evaluation.check"
_LAZY["Comparison"] = "transformer.evaluation.compare"
_LAZY["Evaluation"] = "transformer.evaluation.evaluate"
_LAZY["Export"] = "transformer.interchange.export"
_LAZY["Import"] = "transformer.interchange.importing"

if not TYPE_CHECKING:  # a type checker would accept any attribute of a module that defines this function

    def __getattr__(name: str) -> object:
        """Import a public name from its module on first use (PEP 562)."""
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
