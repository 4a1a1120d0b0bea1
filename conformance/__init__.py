"""Whether clients that others made work unmodified. Imports from bench.servers and from tests.onnx_files; nothing imports it."""
