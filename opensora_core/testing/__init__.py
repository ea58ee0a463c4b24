"""The op table, its inputs, and the checks that any backend can be put to; needs hypothesis.

table                every op of the language: its arguments, its meaning, its costs
strategies           what draws arguments; drawing: the same draws in every run
references           what every op means, in float64; `ReferenceOps` is a backend made of them
running              one call on a backend, and `plain()`, the implementation by which rounding is judged
judge                how far off a result is and may be; allowance, rounding, in_order: what its rule is made of
tolerances           what was measured by that rule, published in docs/tolerances.md
gradients            derivatives against differences
conformance          the suite: every op, then blocks, a whole model, training
properties           laws that need no reference
"""
