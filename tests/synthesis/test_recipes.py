"""The recipes and presets load, and say what they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from transformer import config_file

ROOT = Path(__file__).parents[2]
RECIPES = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", re.findall(r"^```yaml\n(.*?)^```", RECIPES, re.DOTALL | re.MULTILINE))
def test_a_recipe_is_a_configuration(text: str) -> None:
    assert config_file.read(text, "docs/recipes.md").data.valid is not None


def test_the_table_of_presets_is_true() -> None:
    rows = re.findall(r"^\| `(configs/student_\S+)` \| (\d+)\+(\d+) \| (\d+) \| (\d+) \|$", RECIPES, re.MULTILINE)
    assert sorted(Path(name).name for name, *_ in rows) == sorted(
        path.name for path in (ROOT / "configs").glob("student_*")
    )
    for name, *numbers in rows:
        cfg = config_file.load(ROOT / name)
        model = cfg.model
        shape = [model.encoder_layers, model.decoder_layers, model.width, model.feed_forward]
        assert shape == list(map(int, numbers))
        assert (cfg.data.train[0].distill is not None, cfg.decode.beam) == (True, 1)


def test_files_that_the_recipes_name_exist() -> None:
    for path in re.findall(r"\b(?:configs|scripts)/[\w./-]+\.(?:yaml|py|sh)", RECIPES):
        assert (ROOT / path).exists(), path
