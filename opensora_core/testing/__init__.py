"""The op table, its inputs, and the checks that any backend can be put to; needs hypothesis."""
