"""The DVC stages, where their files lie, and what runs them."""
