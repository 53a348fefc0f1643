"""What a model's hidden states say of its languages."""
