"""Weights carried between rnnjax and PyTorch, Keras, and ONNX's runtime: equal outputs, either way."""

from __future__ import annotations

import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import INPUT, UNITS, both_ways, built, drawn, layer

from rnnjax import interop
from rnnjax.config import InputError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:keras"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning"),
]

BATCH, TIME = 3, 7
TORCH_CELLS = ("elman", "lstm", "gru", "projected_lstm")
KERAS_CELLS = ("elman", "lstm", "gru", "gru_before")
ONNX_CELLS = ("elman", "lstm", "gru", "gru_before", "peephole_lstm")
SHAPES = {
    "one layer": {},
    "three layers": {"layers": 3},
    "both directions": {"layers": 2, "bidirectional": True},
    "different widths": {"units": (4, 5)},
}


@pytest.fixture(autouse=True)
def _exact():
    """Nothing of ours is compiled, and matrix products are not rounded."""
    with jax.disable_jit(), jax.default_matmul_precision("highest"):
        yield


@pytest.fixture
def inputs():
    return np.random.default_rng(5).normal(size=(BATCH, TIME, INPUT)).astype(np.float32)


@pytest.fixture
def symbols():
    return jnp.asarray(np.random.default_rng(5).integers(0, INPUT, (BATCH, TIME)))


# PyTorch


def torch_made(torch, described):
    """The modules that `torch_modules` describes, with PyTorch's own random weights."""

    def make(module):
        if isinstance(module, list):
            return torch.nn.ModuleList(map(make, module))
        return getattr(torch.nn, module["class"])(**module["arguments"])

    torch.manual_seed(0)
    return torch.nn.ModuleDict({name: make(module) for name, module in described["modules"].items()})


def torch_run(torch, modules, inputs, read="every"):
    """What those modules give, one after the other."""
    values = torch.from_numpy(np.array(inputs))
    if "embedding" in modules:
        values = modules["embedding"](values.long())
    rnn = modules["rnn"]
    with torch.no_grad():
        for each in rnn if isinstance(rnn, torch.nn.ModuleList) else [rnn]:
            values, final = each(values)
        if read == "last":  # of the last layer, each direction's when it has read everything
            final = final[0] if isinstance(final, tuple) else final
            values = torch.cat(list(final[-2 if each.bidirectional else -1 :]), dim=-1)
        return (modules["readout"](values) if "readout" in modules else values).numpy()


@pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_pytorch_gives_our_outputs(torch, cell, options, inputs, close):
    model = built(cell, **options)
    modules = torch_made(torch, interop.torch_modules(model))
    theirs = modules.state_dict()
    close(interop.from_torch(model, theirs)(inputs), torch_run(torch, modules, inputs), 2e-6)
    modules.load_state_dict({name: torch.from_numpy(value) for name, value in interop.to_torch(model).items()})
    close(model(inputs), torch_run(torch, modules, inputs), 2e-6)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_pytorch_reads_a_file_of_symbols_and_their_last_step(torch, cell, bidirectional, symbols, close, tmp_path):
    model = built(cell, embedding=2, symbols=True, read="last", bidirectional=bidirectional)
    weights, about = interop.export(model, "torch", tmp_path / "model")
    described = json.loads(about.read_text())
    modules = torch_made(torch, described)
    modules.load_state_dict(torch.load(weights))
    close(model(symbols), torch_run(torch, modules, symbols, described["read"]), 2e-6)
    close(interop.load(drawn(model, 9), "torch", weights)(symbols), model(symbols), 0)


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_a_layer_alone_has_the_state_of_one_module(torch, cell, inputs, close):
    for model in (layer(cell), both_ways(cell), layer(cell, use_bias=False)):
        made = interop.torch_modules(model)["modules"]["rnn"]
        module = getattr(torch.nn, made["class"])(**made["arguments"])
        module.load_state_dict({name: torch.from_numpy(value) for name, value in interop.to_torch(model).items()})
        close(model(inputs), torch_run(torch, {"rnn": module}, inputs), 2e-6)


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_pytorch_decodes_a_context(torch, cell, inputs, close):
    model = built(cell, read="answer", answer_steps=2, decoder_units=5)
    described = interop.torch_modules(model)
    modules = torch_made(torch, described)
    modules.load_state_dict({name: torch.from_numpy(value) for name, value in interop.to_torch(model).items()})
    with torch.no_grad():
        context = modules["encoder"](torch.from_numpy(inputs))[0][:, -1:]
        written = modules["decoder"](context.expand(-1, described["answer_steps"], -1))[0]
        close(model(inputs), modules["readout"](written), 2e-6)


def test_pytorchs_relu_and_its_tensors_of_half_precision(torch, inputs, close):
    model = built("elman", activation="relu")
    modules = torch_made(torch, interop.torch_modules(model)).to(torch.bfloat16)
    ours = interop.from_torch(model, modules.state_dict())
    close(ours(inputs), torch_run(torch, modules.float(), inputs), 2e-6)


def test_a_file_that_is_not_pytorchs(torch, tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="is no file of weights for torch"):
        interop.load(built("lstm"), "torch", path)


@pytest.mark.filterwarnings("ignore")  # the exporter warns of itself, and of every guess it makes
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
def test_a_graph_that_pytorch_exports_is_read(torch, cell, bidirectional, symbols, close):
    onnx = pytest.importorskip("onnx")
    model = built(cell, embedding=2, symbols=True, layers=2, bidirectional=bidirectional)
    modules = torch_made(torch, interop.torch_modules(model))

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = modules

        def forward(self, read):
            return self.parts["readout"](self.parts["rnn"](self.parts["embedding"](read))[0])

    buffer = io.BytesIO()
    read = torch.from_numpy(np.asarray(symbols, np.int64))
    torch.onnx.export(Whole().eval(), (read,), buffer, dynamo=False)
    ours = interop.from_onnx(model, onnx.load_model_from_string(buffer.getvalue()))
    close(ours(symbols), torch_run(torch, modules, symbols), 2e-6)


# Keras


def keras_made(keras, model):
    return keras.models.model_from_json(json.dumps(interop.keras_config(model)))


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("cell", KERAS_CELLS)
def test_keras_gives_our_outputs(keras, cell, options, inputs, close):
    model = built(cell, **options)
    theirs = keras_made(keras, model)
    close(interop.from_keras(model, theirs.get_weights())(inputs), theirs(inputs), 2e-6)
    theirs.set_weights([value for values in interop.to_keras(model).values() for value in values])
    close(model(inputs), theirs(inputs), 2e-6)


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize("read", ["every", "last"])
@pytest.mark.parametrize("cell", KERAS_CELLS)
def test_keras_reads_a_file_and_writes_one(keras, cell, read, symbols, close, tmp_path):
    model = built(cell, embedding=2, symbols=True, read=read, layers=2, bidirectional=True)
    weights, about = interop.export(model, "keras", tmp_path / "model")
    assert weights.name == "model.weights.h5"
    theirs = keras.models.model_from_json(about.read_text())
    theirs.load_weights(weights)
    close(model(symbols), theirs(np.asarray(symbols)), 2e-6)
    theirs.set_weights([value * 0.5 for value in theirs.get_weights()])
    theirs.compile("adam", "mse")
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours = interop.load(model, "keras", tmp_path / "theirs.weights.h5")
    close(ours(symbols), theirs(np.asarray(symbols)), 2e-6)


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize("merge", ["concat", "sum", "multiply", "average"])
@pytest.mark.parametrize("read", ["every", "last"])
def test_keras_merges_as_we_do(keras, merge, read, inputs, close):
    model = built("lstm", bidirectional=True, merge=merge, read=read)
    theirs = keras_made(keras, model)
    theirs.set_weights([value for values in interop.to_keras(model).values() for value in values])
    close(model(inputs), theirs(inputs), 2e-6)


@pytest.mark.usefixtures("as_installed")
def test_keras_repeats_a_context_and_decodes_it(keras, inputs, close, tmp_path):
    model = built("lstm", read="answer", answer_steps=2, decoder_units=5)
    weights, about = interop.export(model, "keras", tmp_path / "addition")
    theirs = keras.models.model_from_json(about.read_text())
    theirs.load_weights(weights)
    assert [type(each).__name__ for each in theirs.layers] == ["LSTM", "RepeatVector", "LSTM", "Dense"]
    close(model(inputs), theirs(inputs), 2e-6)
    theirs.save_weights(weights)
    close(interop.load(drawn(model, 9), "keras", weights)(inputs), model(inputs), 0)


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize("activation", ["sigmoid", "hard_sigmoid", "hard_tanh", "relu", "softplus", "identity"])
@pytest.mark.parametrize("cell", ["elman", "lstm"])
def test_keras_computes_our_activations(keras, cell, activation, inputs, close):
    model = built(cell, activation=activation)
    theirs = keras_made(keras, model)
    theirs.set_weights([value for values in interop.to_keras(model).values() for value in values])
    close(model(inputs), theirs(inputs), 2e-6)


@pytest.mark.usefixtures("as_installed")
def test_layers_written_by_hand_and_a_dropout_between_them(keras, symbols, close, tmp_path):
    made = keras.layers
    theirs = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            made.Embedding(INPUT, 2),
            made.LSTM(UNITS, return_sequences=True, dropout=0.1, recurrent_dropout=0.1, name="mine"),
            made.Dropout(0.5),
            made.LSTM(UNITS, return_sequences=True, name="other"),
            made.Dense(5),
        ]
    )
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    model = interop.load(built("lstm", embedding=2, symbols=True, layers=2), "keras", tmp_path / "theirs.weights.h5")
    close(model(symbols), theirs(np.asarray(symbols)), 2e-6)


@pytest.mark.usefixtures("as_installed")
def test_a_file_of_other_layers_is_refused(keras, tmp_path):
    path, _ = interop.export(built("gru", layers=2), "keras", tmp_path / "gru")
    with pytest.raises(InputError, match="'layers/lstm/cell/vars/0' is missing"):
        interop.load(built("lstm", layers=2), "keras", path)
    with pytest.raises(InputError, match="no place for 'layers/gru_1/cell/vars/0'"):
        interop.load(built("gru"), "keras", path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="is no file of weights for keras"):
        interop.load(built("gru"), "keras", path)


# ONNX Runtime


def runtime(proto, **fed):
    """What ONNX Runtime gives, by name."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, {name: v for name, v in fed.items()}), strict=True))


@pytest.mark.parametrize("read", ["every", "last"])
@pytest.mark.parametrize("cell", ONNX_CELLS)
def test_onnx_runtime_gives_our_outputs_and_states(cell, read, inputs, close):
    pytest.importorskip("onnx")
    model = built(cell, layers=2, bidirectional=True, read=read)
    expected, found = model.unroll(inputs), runtime(interop.to_onnx(model), inputs=inputs)
    close(found["outputs"], expected.outputs, 1e-5)
    for name, value in expected.state.items():
        close(found[name], value, 1e-5, name)


@pytest.mark.parametrize("activation", ["sigmoid", "hard_sigmoid", "relu", "softplus", "identity"])
@pytest.mark.parametrize("cell", ONNX_CELLS)
def test_onnx_runtime_computes_our_activations(cell, activation, inputs, close):
    pytest.importorskip("onnx")
    model = built(cell, activation=activation)
    proto = interop.to_onnx(model)
    close(runtime(proto, inputs=inputs * 0.3)["outputs"], model(inputs * 0.3), 1e-5)
    close(interop.from_onnx(drawn(model, 9), proto)(inputs), model(inputs), 0)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_onnx_runtime_computes_hard_gates(cell, inputs, close):
    pytest.importorskip("onnx")
    model = layer(cell, recurrent_activation="hard_sigmoid", activation="softplus")
    close(runtime(interop.to_onnx(model), inputs=inputs)["outputs"], model(inputs), 1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"read": "answer", "answer_steps": 3},
        {"residual": True, "layers": 3},
        {"learned_initial": True},
        {"merge": "average", "bidirectional": True},
    ],
)
def test_onnx_runtime_computes_what_others_do_not(options, inputs, close):
    pytest.importorskip("onnx")
    model = built("lstm", **options)
    close(runtime(interop.to_onnx(model), inputs=inputs)["outputs"], model(inputs), 1e-5)


def test_onnx_runtime_goes_on_from_a_state(symbols, close):
    pytest.importorskip("onnx")
    model = built("lstm", embedding=2, symbols=True, layers=2)
    proto, whole = interop.to_onnx(model, state=True), model(symbols)
    state, symbols = model.initial_state(BATCH), np.asarray(symbols, np.int64)
    for t in range(TIME):
        fed = {f"initial.{name}": np.asarray(value) for name, value in state.items()}
        state = runtime(proto, inputs=symbols[:, t : t + 1], **fed)
        close(state.pop("outputs")[:, 0], whole[:, t], 1e-5)
