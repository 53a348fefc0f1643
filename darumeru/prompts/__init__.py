"""From messages to token ids: chat templates, exactly one BOS, choice tokens, the few-shot budget."""
