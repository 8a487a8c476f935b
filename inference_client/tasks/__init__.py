"""What a model can be asked to do: arguments to documents, and answered documents to results."""
