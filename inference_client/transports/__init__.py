"""How a request reaches a model: one module for each protocol, found by the scheme of the model's URL."""
