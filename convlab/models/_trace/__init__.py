"""How `convlab.trace` works: dependence of every activation on the input's pixels, carried through any forward.

`axis` and `states` hold the dependence itself (numpy only), `functions_*` the rules for torch's functions, `aten_*`
those for the operators below them, `modes` the interception, `session` the run of a model, `record` what comes out.
"""
