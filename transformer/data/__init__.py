"""Text in: what a line is, kinds of corpora, the tokenizer, prepared data, batches."""
