"""What runs a model, in this process or in the server."""
