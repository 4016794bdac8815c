"""Export of a trained model to CTranslate2.

CTranslate2 places norms and biases as this package does and gets the same position table. So nothing is approximated:
the same ids give the same logits, up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformer.data.tokenizer import Tokenizer
from transformer.errors import ConfigError, TransformerError
from transformer.interchange.common import NEVER, POSITIONS, Array, array, bias_array, check_export, new_export
from transformer.interchange.portable import portable_models
from transformer.model.network import Transformer, sinusoids
from transformer.model.weights import (
    ANY,
    TRAINING_ONLY,
    Accepted,
    DecoderLayerWeights,
    DecoderWeights,
    EncoderLayerWeights,
    EncoderWeights,
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
    "norm": one_of("post", "pre"),
    "activation": one_of("relu", "gelu", "swish"),
    "tied": one_of("all", "target", "none"),
    "output_bias": one_of(False, True),
    "positions": one_of("paper", "marian"),
    "norm_epsilon": ANY,
    "decoder_start": one_of("bos", "pad", "zero"),
    **TRAINING_ONLY,
}


def write_ctranslate2(model: Transformer, tokenizer: Tokenizer, folder: Path, quantization: str | None = None) -> None:
    """Write a new folder for `ctranslate2.Translator`, whose input is source pieces without eos.

    Raises as `fill_ctranslate2` does, and ConfigError if the folder exists.
    """
    with new_export(folder) as new:
        fill_ctranslate2(model, tokenizer, new, quantization)
        save_models(tokenizer, new)


def fill_ctranslate2(model: Transformer, tokenizer: Tokenizer, folder: Path, quantization: str | None = None) -> None:
    """Write the files of CTranslate2 into a folder.

    `quantization` is one of CTranslate2's, such as int8. Ids that this package never chooses get an output bias so low
    that CTranslate2 never chooses them. Raises TransformerError if CTranslate2 is not installed, and ConfigError if it
    does not support the model.
    """
    try:
        from ctranslate2.specs import common_spec, transformer_spec
    except ImportError:
        raise TransformerError("exporting to CTranslate2 needs its package: pip install ctranslate2") from None
    cfg = model.cfg
    check_export(cfg, ACCEPTED, "CTranslate2")
    spec = transformer_spec.TransformerSpec.from_config(
        (cfg.encoder_layers, cfg.decoder_layers),
        cfg.heads,
        pre_norm=cfg.norm == "pre",
        activation=common_spec.Activation[cfg.activation.upper()],
    )
    _fill_spec(spec, model, tokenizer)
    try:
        spec.validate()
        spec.optimize(quantization=quantization)
    except ValueError as error:
        raise ConfigError(f"CTranslate2 rejects this model: {error}") from None
    spec.save(str(folder))


def spm_names(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Return the names of the SentencePiece models beside a model of CTranslate2, which has none of its own."""
    return ("sentencepiece.model",) if len(tokenizer.models) == 1 else ("source.spm", "target.spm")


def save_models(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the SentencePiece models beside a model of CTranslate2."""
    for name, content in zip(spm_names(tokenizer), portable_models(tokenizer), strict=True):
        (folder / name).write_bytes(content)


def how_to_use(tokenizer: Tokenizer) -> str:
    """Return the section of a card on how to use the folder."""
    source, target = spm_names(tokenizer)[0], spm_names(tokenizer)[-1]
    other = "source" if source == target else f'sentencepiece.SentencePieceProcessor(model_file="{target}")'
    return f"""\
```python
import ctranslate2, sentencepiece
source = sentencepiece.SentencePieceProcessor(model_file="{source}")
target = {other}
translator = ctranslate2.Translator(".")
(found,) = translator.translate_batch([source.encode("Text to translate.", out_type=str)], beam_size=4)
print(target.decode(found.hypotheses[0]))
```

CTranslate2 adds the end of the sentence itself. It cuts input at 1,024 tokens and translations at 256, unless
`max_input_length` and `max_decoding_length` say otherwise; positions end at {POSITIONS:,}."""


def _fill_spec(spec: Any, model: Transformer, tokenizer: Tokenizer) -> None:
    """Set the weights, vocabularies and special tokens of CTranslate2's model specification."""
    weights = model_weights(model)
    positions = sinusoids(POSITIONS, model.cfg.width, model.cfg.positions).numpy()
    _fill_stack(spec.encoder, spec.encoder.embeddings[0], weights.encoder, positions)
    _fill_stack(spec.decoder, spec.decoder.embeddings, weights.decoder, positions)
    output = weights.decoder.output
    bias = bias_array(output)
    bias[list(tokenizer.never_chosen)] = NEVER
    spec.decoder.projection.weight, spec.decoder.projection.bias = array(output.weight), bias
    spec.register_source_vocabulary([tokenizer.source.id_to_piece(i) for i in range(tokenizer.sizes[0])])
    spec.register_target_vocabulary(tokenizer.pieces(range(tokenizer.sizes[1])))
    special = tokenizer.pieces([tokenizer.unk, tokenizer.bos, tokenizer.eos, model.start_id])
    spec.config.unk_token, spec.config.bos_token, spec.config.eos_token, spec.config.decoder_start_token = special
    spec.config.add_source_bos, spec.config.add_source_eos = False, True
    spec.config.layer_norm_epsilon = weights.encoder.layers[0].attention.norm.epsilon


def _fill_stack(spec: Any, embedding_spec: Any, weights: EncoderWeights | DecoderWeights, positions: Array) -> None:
    """Set the weights and the position table of the encoder or decoder in CTranslate2's model specification."""
    embedding_spec.weight = array(weights.embedding)
    spec.scale_embeddings = True
    spec.position_encodings.encodings = positions.copy()
    if weights.norm is not None:
        _fill_norm(spec.layer_norm, weights.norm)
    for layer_spec, layer in zip(spec.layer, weights.layers, strict=True):
        _fill_layer(layer_spec, layer)


def _fill_layer(spec: Any, layer: EncoderLayerWeights) -> None:
    _fill_linear(spec.self_attention.linear[0], layer.attention.qkv)
    _fill_linear(spec.self_attention.linear[1], layer.attention.out)
    _fill_norm(spec.self_attention.layer_norm, layer.attention.norm)
    if isinstance(layer, DecoderLayerWeights):
        _fill_linear(spec.attention.linear[0], layer.cross.q)
        _fill_linear(spec.attention.linear[1], layer.cross.kv)
        _fill_linear(spec.attention.linear[2], layer.cross.out)
        _fill_norm(spec.attention.layer_norm, layer.cross.norm)
    _fill_linear(spec.ffn.linear_0, layer.feed_forward.inner)
    _fill_linear(spec.ffn.linear_1, layer.feed_forward.out)
    _fill_norm(spec.ffn.layer_norm, layer.feed_forward.norm)


def _fill_linear(spec: Any, linear: LinearWeights) -> None:
    spec.weight, spec.bias = array(linear.weight), bias_array(linear)


def _fill_norm(spec: Any, norm: NormWeights) -> None:
    spec.gamma, spec.beta = array(norm.weight), array(norm.bias)
