"""A Python model `asks` that calls the model `quick` through the gateway, as files of a repository."""

from __future__ import annotations

CALLS = """
class Model:
    def __init__(self, directory, parameters):
        pass

    async def predict(self, inputs, context):
        answer = await context.call("quick", {"features": inputs["x"]})
        return {"y": answer["class_id"]}
"""
CONFIG = """backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: [-1] }
output { name: "y" data_type: TYPE_INT32 dims: [1] }
"""
ASKS = {"asks/config.pbtxt": CONFIG, "asks/1/model.py": CALLS}
