"""A page in the browser that runs the four tasks on any model, and shows the code that does the same."""
