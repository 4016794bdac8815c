"""Data: lines of text, corpora, the tokenizer, prepared datasets, batches."""
