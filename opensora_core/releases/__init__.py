"""Published Open-Sora weights, v1.0 to v2.0: recognised by their names and shapes, and loaded into the models here."""
