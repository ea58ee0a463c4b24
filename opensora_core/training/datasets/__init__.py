"""Training data from files: folders and manifests of clips, sorted into buckets, cut, encoded and cached."""
