"""From prompts to what the model reads of them."""
