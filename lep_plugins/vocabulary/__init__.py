"""Vocabulary schemes: substitution (bpe, unigram), extension, optimization, trimming."""
