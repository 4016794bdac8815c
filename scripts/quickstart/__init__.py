"""The grammar of the quickstart corpus: words, their forms, clauses, sentences and fixed phrases."""
