"""Why a video looks as it does: attention maps, the influence of words, and what each block contributes."""
