"""What `snac-exp prepare` reads: folders, lists of files and segments, tar shards, Hugging Face data sets."""
