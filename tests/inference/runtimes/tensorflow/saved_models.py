"""SavedModels for tests, and what TensorFlow itself answers to their inputs.

`python -m tests.inference.runtimes.tensorflow.saved_models DIRECTORY` writes them, in a process of its own: what a test sees of
TensorFlow is what a pod makes of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[4]
ROWS = np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32)
REVIEWS = ["a good film", "a bad film", "good good", "bad"]
EXPECTED = "expected.npz"


def write_saved_models(directory: Path) -> Path:
    """All models below, each in a directory of its name, and `EXPECTED`; the directory.

    It fails where TensorFlow is not installed.
    """
    command = [sys.executable, "-m", __name__, str(directory)]
    environ = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'services'}{os.pathsep}{ROOT}",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return directory


def write(directory: Path) -> None:
    """See `write_saved_models`."""
    import tensorflow as tf

    def spec(name: str, dtype: Any = tf.float32, shape: Any = (None,)) -> Any:
        return tf.TensorSpec(shape, dtype, name=name)

    def function(run: Any, *specs: Any) -> Any:
        return tf.function(run, input_signature=specs)

    def save(name: str, module: Any, **signatures: Any) -> None:
        tf.saved_model.save(module, str(directory / name), signatures=signatures)

    table = tf.Module()
    table.weights = tf.Variable(np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3))
    table.names = tf.constant(["low", "mid", "high"])

    def classify(x: Any) -> Any:
        scores = tf.nn.softmax(x @ table.weights)
        rows = tf.repeat(tf.shape(x)[0], tf.shape(x)[0])
        return {
            "probabilities": scores,
            "label": tf.gather(table.names, tf.argmax(scores, 1)),
            "together": rows,
        }

    def numbered(input: Any) -> Any:
        scores = tf.nn.softmax(input @ table.weights)
        return {"label": tf.argmax(scores, 1)[:, None], "probabilities": scores}

    def pick(index: Any, divisor: Any) -> Any:
        return {"row": tf.gather(table.weights, index), "quotient": index // divisor}

    classified = function(classify, spec("x", shape=(None, 4)))
    picked = function(pick, spec("index", tf.int32), spec("divisor", tf.int32))
    save("table", table, serving_default=classified, pick=picked)
    save("numbered", table, serving_default=function(numbered, spec("input", shape=(None, 4))))

    def kinds(text: Any, half: Any, flag: Any, any: Any) -> Any:
        return {
            "upper": tf.strings.upper(text),
            "double": half * 2,
            "opposite": ~flag,
            "same": any,
            "sum": tf.reduce_sum(any),
            "word": tf.constant("one"),
        }

    specs = spec("text", tf.string), spec("half", tf.bfloat16), spec("flag", tf.bool), spec("any", shape=None)
    save("kinds", tf.Module(), serving_default=function(kinds, *specs))

    numbers = function(lambda text: {"number": tf.strings.to_number(text)}, spec("text", tf.string))
    save("number", tf.Module(), serving_default=numbers)

    def turn(x: Any) -> Any:
        return {"turned": tf.complex(x, x), "x": x + 1}

    save("complex", tf.Module(), serving_default=function(turn, spec("x")))

    def slow(path: Any, times: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(path[0], "begun")]):
            count = tf.while_loop(lambda n: n < times[0], lambda n: (n + 1,), (tf.constant(0),))[0]
        return {"count": count[None]}

    save(
        "slow", tf.Module(), serving_default=function(slow, spec("path", tf.string), spec("times", tf.int32))
    )
    save("unsigned", table)

    words = tf.keras.layers.TextVectorization(max_tokens=20)
    words.adapt(REVIEWS)
    text = tf.keras.Input((1,), dtype="string", name="text")
    vectors = tf.keras.layers.GlobalAveragePooling1D()(tf.keras.layers.Embedding(20, 4)(words(text)))
    keras = tf.keras.Model(text, tf.keras.layers.Dense(2, activation="softmax")(vectors))
    keras.export(str(directory / "reviews"), verbose=False)

    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 2], name="x")
        y = x * v1.get_variable("w", initializer=3.0)
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder = v1.saved_model.Builder(str(directory / "old"))
        builder.add_meta_graph_and_variables(session, ["mine"], signature_def_map={"triple": signature})
        builder.save()

    answers = {f"table.{name}": tensor.numpy() for name, tensor in classified(ROWS).items()}
    answers["table.label"] = answers["table.label"].astype(str)
    # One by one: the layer pads texts to the longest one of a run, and padding counts in the mean.
    answers["reviews"] = np.concatenate([keras(tf.constant([[review]])).numpy() for review in REVIEWS])
    np.savez(directory / EXPECTED, **answers)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
