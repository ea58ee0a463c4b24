"""Published releases as models that make videos."""
