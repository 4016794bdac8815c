"""The run directory: configuration, tokenizer, checkpoints."""
