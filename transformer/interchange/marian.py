"""Export of a trained model to Marian: weights as npz with Marian's names, vocabularies, settings of the decoder.

The same folder is one of translateLocally's. Names and shapes are those of Marian's transformer.h; matrices are
(inputs, outputs), biases and norms rows. The position table must be Marian's: a table of weights (`Wpos`) is no way
out, as Marian reads its first row at each step of a translation (`addPositionalEmbeddings`). A decoder that starts
from an embedding, and not from zeros as Marian's, is rewritten to one that does.

Pre-norm models are refused: while it translates, Marian 1.12 normalizes the input of self-attention for the queries,
but not for the keys and values of more than one position, other than in training (`LayerAttention` in transformer.h).

Shape letters: D model width, V vocabulary.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from transformer.config import DecodeConfig
from transformer.data.tokenizer import Tokenizer
from transformer.interchange.common import NEVER, Array, array, bias_array, check_export
from transformer.interchange.portable import portable_models
from transformer.model.network import Transformer
from transformer.model.weights import (
    ANY,
    TRAINING_ONLY,
    Accepted,
    DecoderLayerWeights,
    EncoderLayerWeights,
    LinearWeights,
    NormWeights,
    model_weights,
    one_of,
)

ACCEPTED: Mapping[str, Accepted] = {
    "width": ANY,
    "heads": ANY,
    "feed_forward": ANY,
    "encoder_layers": ANY,
    "decoder_layers": ANY,
    "norm": Accepted(
        lambda norm, _: norm == "post", "post; Marian translates with pre-norm models unlike it trains them"
    ),
    "activation": Accepted(lambda kind, _: kind in ("relu", "swish"), "relu or swish; Marian approximates gelu"),
    "tied": one_of("all", "target", "none"),
    "output_bias": one_of(False, True),
    "positions": Accepted(lambda kind, _: kind == "marian", "marian, which must be set before training"),
    "norm_epsilon": ANY,
    "decoder_start": one_of("bos", "pad", "zero"),
    **TRAINING_ONLY,
}
MODEL, DECODER, TRANSLATE_LOCALLY = "model.npz", "decoder.yml", "config.intgemm8bitalpha.yml"
BERGAMOT = {"max-length-break": 128, "mini-batch-words": 1024}
"""Settings that only translateLocally's engine has: the tokens at which a sentence is cut, and those of a batch."""
OPTIONS = "special:model.yml"
"""The array of bytes with Marian's options as YAML, ended by a zero."""


def how_to_use(tokenizer: Tokenizer) -> str:
    """Return the section of a card on how to use the folder."""
    source, target = spm_names(tokenizer)[0], spm_names(tokenizer)[-1]
    return f"""\
```sh
echo "Text to translate." | marian-decoder -c {DECODER} --cpu-threads 1
```

or, with the package pymarian:

```python
from pymarian import Translator
translator = Translator(models="{MODEL}", vocabs=["{source}", "{target}"], cpu_threads=1, beam_size=4, normalize=1)
print(translator.translate("Text to translate."))
```

translateLocally reads this folder as it is. `{yml_names(tokenizer)[0]}` is for text that is segmented already. Marian
divides log-probabilities by the number of tokens to the power of `normalize`."""


def fill_marian(
    model: Transformer, tokenizer: Tokenizer, folder: Path, pair: tuple[str, str], search: DecodeConfig, name: str
) -> None:
    """Write the files of Marian and translateLocally into a folder. Raises ConfigError for a model it does not support.

    `pair` are the codes of source and target, `name` is that of the model.
    """
    check_export(model.cfg, ACCEPTED, "Marian")
    arrays = marian_arrays(model, tokenizer)
    options = yaml.safe_dump(_options(model, tokenizer), default_flow_style=None)
    arrays[OPTIONS] = np.frombuffer(options.encode() + b"\0", np.int8)
    np.savez(folder / MODEL, allow_pickle=False, **arrays)
    for file, content in zip(spm_names(tokenizer), portable_models(tokenizer), strict=True):
        (folder / file).write_bytes(content)
    for file, side in zip(yml_names(tokenizer), (tokenizer.source, tokenizer.target), strict=False):
        pieces = {side.id_to_piece(i): i for i in range(side.get_piece_size())}
        lines = (f"{json.dumps(piece, ensure_ascii=False)}: {i}\n" for piece, i in pieces.items())
        (folder / file).write_text("".join(lines), encoding="utf-8")
    settings = _decoder_options(tokenizer, search)
    for file, values in ((DECODER, settings), (TRANSLATE_LOCALLY, settings | BERGAMOT)):
        (folder / file).write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    (folder / "model_info.json").write_text(json.dumps(_model_info(pair, name), indent=2) + "\n", encoding="utf-8")


def spm_names(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Return the names of the SentencePiece models, which Marian takes as vocabularies of raw text."""
    return ("vocab.spm",) if len(tokenizer.models) == 1 else ("source.spm", "target.spm")


def yml_names(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Return the names of the vocabularies of pieces, with the ids of the SentencePiece models."""
    return ("vocab.yml",) if len(tokenizer.models) == 1 else ("source.yml", "target.yml")


def marian_arrays(model: Transformer, tokenizer: Tokenizer) -> dict[str, Array]:
    """Return the weights by Marian's names."""
    cfg, weights = model.cfg, model_weights(model)
    start = array(weights.decoder.embedding)[model.start_id] if cfg.decoder_start != "zero" else None
    bias_V = bias_array(weights.decoder.output)
    bias_V[list(tokenizer.never_chosen)] = NEVER
    arrays = {"decoder_ff_logit_out_b": bias_V[None]}
    if cfg.tied == "all" and start is None:
        arrays["Wemb"] = array(weights.decoder.embedding)
    else:
        arrays["encoder_Wemb"] = array(weights.encoder.embedding)
        arrays["decoder_Wemb"] = array(weights.decoder.embedding)
    if cfg.tied == "none" or start is not None:
        arrays["decoder_ff_logit_out_W"] = array(weights.decoder.output.weight).T.copy()
    for side, stack in (("encoder", weights.encoder), ("decoder", weights.decoder)):
        for i, layer in enumerate(stack.layers):
            arrays |= _layer(f"{side}_l{i + 1}", layer)
    return arrays if start is None else _moved(arrays, start)


def _moved(arrays: dict[str, Array], start_D: Array) -> dict[str, Array]:
    """Return the arrays of a decoder that starts from zeros for one that starts from an embedding.

    Marian's first input is a vector of zeros. All inputs of the decoder are made smaller by the scaled embedding of the
    start, so that the first one becomes zeros. The first self-attention takes it in again: in the biases of its
    queries, keys and values, and in that of its output, which is added to its input.
    """
    shift_D = (start_D * math.sqrt(len(start_D))).astype(np.float32)
    arrays["decoder_Wemb"] = arrays["decoder_Wemb"] - start_D
    name = "decoder_l1_self"
    for part in "qkv":
        arrays[f"{name}_b{part}"] = arrays[f"{name}_b{part}"] + shift_D @ arrays[f"{name}_W{part}"]
    arrays[f"{name}_bo"] = arrays[f"{name}_bo"] + shift_D
    return arrays


def _layer(name: str, layer: EncoderLayerWeights) -> dict[str, Array]:
    """Return the weights of one layer by Marian's names."""
    arrays = {
        **_fused(f"{name}_self", "qkv", layer.attention.qkv),
        **_linear(f"{name}_self", "o", layer.attention.out),
        **_norm(f"{name}_self_Wo", layer.attention.norm),
        **_linear(f"{name}_ffn", "1", layer.feed_forward.inner),
        **_linear(f"{name}_ffn", "2", layer.feed_forward.out),
        **_norm(f"{name}_ffn_ffn", layer.feed_forward.norm),
    }
    if isinstance(layer, DecoderLayerWeights):
        arrays |= _linear(f"{name}_context", "q", layer.cross.q)
        arrays |= _fused(f"{name}_context", "kv", layer.cross.kv)
        arrays |= _linear(f"{name}_context", "o", layer.cross.out)
        arrays |= _norm(f"{name}_context_Wo", layer.cross.norm)
    return arrays


def _fused(name: str, parts: str, fused: LinearWeights) -> dict[str, Array]:
    """Split a fused projection into its parts, which are stacked by rows and named by the letters of `parts`."""
    weights, biases = np.split(array(fused.weight), len(parts)), np.split(bias_array(fused), len(parts))
    arrays = {f"{name}_W{part}": weight.T.copy() for part, weight in zip(parts, weights, strict=True)}
    return arrays | {f"{name}_b{part}": bias[None] for part, bias in zip(parts, biases, strict=True)}


def _linear(name: str, part: str, linear: LinearWeights) -> dict[str, Array]:
    return {f"{name}_W{part}": array(linear.weight).T.copy(), f"{name}_b{part}": bias_array(linear)[None]}


def _norm(name: str, norm: NormWeights) -> dict[str, Array]:
    return {f"{name}_ln_scale": array(norm.weight)[None], f"{name}_ln_bias": array(norm.bias)[None]}


def _options(model: Transformer, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return Marian's options of a model."""
    cfg, own = model.cfg, model.cfg.decoder_start == "zero"  # else the embeddings of the decoder are moved
    return {
        "type": "transformer",
        "version": "v1.12.0",
        "dim-emb": cfg.width,
        "dim-vocabs": list(tokenizer.sizes),
        "enc-depth": cfg.encoder_layers,
        "dec-depth": cfg.decoder_layers,
        "transformer-heads": cfg.heads,
        "transformer-dim-ffn": cfg.feed_forward,
        "transformer-decoder-dim-ffn": cfg.feed_forward,
        "transformer-ffn-depth": 2,
        "transformer-decoder-ffn-depth": 2,
        "transformer-ffn-activation": cfg.activation,
        "transformer-preprocess": "",
        "transformer-postprocess": "dan",
        "transformer-postprocess-top": "",
        "transformer-postprocess-emb": "d",
        "transformer-decoder-autoreg": "self-attention",
        "transformer-guided-alignment-layer": "last",
        "transformer-train-positions": False,
        "transformer-train-position-embeddings": False,
        "transformer-no-projection": False,
        "transformer-tied-layers": [],
        "tied-embeddings-all": cfg.tied == "all" and own,
        "tied-embeddings": cfg.tied == "target" and own,
        "tied-embeddings-src": False,
        "input-types": [],
        "layer-normalization": False,
        "lemma-dim-emb": 0,
        "right-left": False,
        "skip": False,
        "ulr": False,
    }


def _decoder_options(tokenizer: Tokenizer, search: DecodeConfig) -> dict[str, Any]:
    """Return the options of Marian's decoder, which reads raw text by the SentencePiece models."""
    names = spm_names(tokenizer)
    return {
        "relative-paths": True,
        "models": [MODEL],
        "vocabs": [names[0], names[-1]],
        "beam-size": search.beam,
        "normalize": search.length_penalty,
        "word-penalty": 0,
        "mini-batch": 16,
        "maxi-batch": 100,
        "maxi-batch-sort": "src",
        "workspace": 512,
        "max-length-factor": 3.0,
        "skip-cost": False,  # it would rank by logits
    }


def _model_info(pair: tuple[str, str], name: str) -> dict[str, Any]:
    """Return the content of translateLocally's model_info.json."""
    source, target = pair
    return {
        "modelName": f"{name} {source}-{target}",
        "shortName": f"{source}-{target}-{name}",
        "type": "base",
        "src": source,
        "trg": target,
        "srcTags": {source: source},
        "trgTag": target,
        "version": 1,
        "API": 1,
    }
