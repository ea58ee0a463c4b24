"""What is said of prompts that a model does not read whole."""


class PromptWarning(UserWarning):
    """Part of a prompt does not reach the model."""
