"""The arena: answers of models compared in pairs by a judge, and ratings of the models from these battles."""
