"""What a generation is asked for, as the official releases write it: prompts, sizes, references and given frames."""
