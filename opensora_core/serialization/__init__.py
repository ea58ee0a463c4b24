"""Files of this library: bounded strict reading, deterministic atomic writing.

Nothing is imported here, so that whoever needs one module (`atomic` for a video, say) loads only that one.
"""
