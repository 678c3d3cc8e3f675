"""How a model is tuned on a frozen version, and what became of it."""
