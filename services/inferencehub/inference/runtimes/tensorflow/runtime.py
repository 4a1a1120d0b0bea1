"""TensorFlow's SavedModels, from the directory `model.savedmodel`.

Each instance is a process. TensorFlow ends its own process where one of its checks fails, and that must not be the pod. Its import
also takes 5 s of CPU and 0.5 GB, and holds the GIL for 2 s of that: a pod that did it would answer nobody meanwhile.
"""

from __future__ import annotations

from inferencehub.inference.runtimes.from_file import FromFile


class Tensorflow(FromFile):
    """`source.instances` processes with a SavedModel each. Their environment bounds TensorFlow's threads to the instance's share."""

    reader = "inferencehub.inference.runtimes.tensorflow.model"
    library = "tensorflow"
    is_directory = True
