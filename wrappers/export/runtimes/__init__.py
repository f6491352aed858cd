"""What runs model files: onnxruntime, or torch itself."""
