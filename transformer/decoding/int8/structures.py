"""The C structures that the 8-bit kernels read, as in structures.h, which documents each array.

Pointers are addresses, so the caller must keep the arrays alive. `LAYOUT` is compared with that of the compiled
library, so that a structure that was changed on one side only is detected.
"""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int32, c_void_p

PAGE = 16
"""Target positions whose keys and values are stored together."""
ACTIVATIONS = ("relu", "gelu", "swish")
"""Activation functions, in the order of their numbers in C."""


class QuantizedLinear(ctypes.Structure):
    """Weights in 8 bits, with a scale and a bias for each output."""

    _fields_ = [
        ("inputs", c_int32),
        ("outputs", c_int32),
        ("weight", c_void_p),
        ("scale", c_void_p),
        ("bias", c_void_p),
        ("sum", c_void_p),
    ]


class LayerNorm(ctypes.Structure):
    """Layer normalization in float32."""

    _fields_ = [("weight", c_void_p), ("bias", c_void_p)]


class Layer(ctypes.Structure):
    """A layer of the decoder or encoder. In the encoder the fields of cross-attention are zero."""

    _fields_ = [
        ("qkv", QuantizedLinear),
        ("self_out", QuantizedLinear),
        ("cross_q", QuantizedLinear),
        ("cross_out", QuantizedLinear),
        ("inner", QuantizedLinear),
        ("outer", QuantizedLinear),
        ("self_norm", LayerNorm),
        ("cross_norm", LayerNorm),
        ("feed_forward_norm", LayerNorm),
    ]


class LayerStack(ctypes.Structure):
    """The encoder or the decoder. The encoder's output projection is zero."""

    _fields_ = [
        ("width", c_int32),
        ("heads", c_int32),
        ("layer_count", c_int32),
        ("feed_forward", c_int32),
        ("vocabulary", c_int32),
        ("post_norm", c_int32),
        ("activation", c_int32),
        ("epsilon", c_float),
        ("embedding_scale", c_float),
        ("layers", c_void_p),
        ("final_norm", LayerNorm),
        ("output", QuantizedLinear),
        ("embedding", c_void_p),
    ]


class EncodeCall(ctypes.Structure):
    """The arrays of a call of `encode`."""

    _fields_ = [
        ("sentences", c_int32),
        ("source_length", c_int32),
        ("decoder_layers", c_int32),
        ("ids", c_void_p),
        ("lengths", c_void_p),
        ("encoding", c_void_p),
        ("cross_kv", c_void_p),
        ("memory", c_void_p),
        ("failed", c_void_p),
    ]


class StepCall(ctypes.Structure):
    """The arrays of a call of `step`."""

    _fields_ = [
        ("rows", c_int32),
        ("beams", c_int32),
        ("sentences", c_int32),
        ("position", c_int32),
        ("source_length", c_int32),
        ("candidates", c_int32),
        ("banned_count", c_int32),
        ("ancestor_stride", c_int32),
        ("sentence", c_void_p),
        ("place", c_void_p),
        ("last_id", c_void_p),
        ("allowed", c_void_p),
        ("allowed_start", c_void_p),
        ("lengths", c_void_p),
        ("banned", c_void_p),
        ("ancestor", c_void_p),
        ("memory", c_void_p),
        ("page", c_void_p),
        ("encoding", c_void_p),
        ("log_prob", c_void_p),
        ("id", c_void_p),
        ("failed", c_void_p),
    ]


def _layout(structure: type[ctypes.Structure]) -> tuple[int, ...]:
    """Return the size of a structure and the offset of each of its fields."""
    return ctypes.sizeof(structure), *(getattr(structure, name).offset for name, *_ in structure._fields_)


STRUCTURES: tuple[type[ctypes.Structure], ...] = (QuantizedLinear, LayerNorm, Layer, LayerStack, EncodeCall, StepCall)
LAYOUT = (*(number for structure in STRUCTURES for number in _layout(structure)), PAGE)
"""The layout of all structures, and PAGE, in the order of layout.h."""
