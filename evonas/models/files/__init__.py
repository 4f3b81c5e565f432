"""Readers and writers of model files: safetensors, ONNX, exported programs, TorchScript."""
