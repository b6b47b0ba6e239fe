"""Weights to and from other libraries: PyTorch, Keras, Flax, ONNX and NumPy's files.

A mapping is a pair of pure functions, ``to_x(model)`` and ``from_x(model, weights)``, between a model and NumPy arrays
under the other library's own names and shapes. Either the other library computes the same from them, or the mapping
refuses with an `InputError`. `export` writes files of them, and `load` reads such files into a model::

    rx.interop.export(run.model(), "torch", "shakespeare")      # shakespeare.pt, shakespeare.torch.json
    model = rx.interop.load(model, "torch", "shakespeare.pt")

Models are `SequenceModel`, and `EncoderDecoder` whose decoder reads the context again at every step; layers alone go
too. Weights are those of evaluation: dropout is left to the other side. The symbol past the last one, which stands for
none here, is an error elsewhere.

==================  ==========  =============  =========================  ============  ================
ours                PyTorch     Keras          Flax (nnx, linen)          ONNX          npz
==================  ==========  =============  =========================  ============  ================
Elman               RNN         SimpleRNN      SimpleCell                 RNN           every model
LSTM                LSTM        LSTM           (Optimized)LSTMCell        LSTM
ProjectedLSTM       LSTM
PeepholeLSTM                                                              LSTM
GRU                 GRU         GRU            GRUCell (nnx: see flax)    GRU
GRUBefore                       GRU                                       GRU
==================  ==========  =============  =========================  ============  ================
"""

from rnnjax.interop.files import TARGETS, Target, export, load
from rnnjax.interop.flax import flax_modules, from_flax, to_flax
from rnnjax.interop.keras import from_h5, from_keras, keras_config, read_h5, to_keras, write_h5
from rnnjax.interop.npz import from_npz, to_npz
from rnnjax.interop.onnx_reader import from_onnx
from rnnjax.interop.onnx_writer import to_onnx
from rnnjax.interop.pytorch import from_torch, to_torch, torch_modules

__all__ = [
    "TARGETS",
    "Target",
    "export",
    "flax_modules",
    "from_flax",
    "from_h5",
    "from_keras",
    "from_npz",
    "from_onnx",
    "from_torch",
    "keras_config",
    "load",
    "read_h5",
    "to_flax",
    "to_keras",
    "to_npz",
    "to_onnx",
    "to_torch",
    "torch_modules",
    "write_h5",
]
