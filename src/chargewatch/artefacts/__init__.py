"""A trained model as a document: a manifest, an ONNX graph and its weights, all checked before use."""
